/** Creates results of ADD, in the form of every version of the specification. */
import { type Attached, type Route, resultAddress } from "../operator/agent-protocol.ts";
import type { Config } from "./config.ts";
import { type IpamResult, ROUTE_NUMBERS } from "./ipam.ts";

type Json = Readonly<Record<string, unknown>>;

/** Adds attached interfaces to the previous result, or to an empty one. */
export function addResult(
  { cniVersion, dns: configured }: Pick<Config, "cniVersion" | "dns">,
  before: Json | null,
  attached: readonly Attached[],
): Json {
  const interfaces = [...list(before?.interfaces)];
  const ips = [...list(before?.ips)];
  const routes = [...list(before?.routes)];
  let dns = before?.dns ?? configured;
  for (const item of attached) {
    interfaces.push(...interfacesOf(cniVersion, item));
    // The last interface is the pod's.
    ips.push(...ipsOf(cniVersion, item, interfaces.length - 1));
    routes.push(...item.routes.map((route) => routeOf(cniVersion, route)));
    dns ??= ipamOf(item)?.dns;
  }
  return {
    ...before,
    cniVersion,
    interfaces,
    ...(ips.length === 0 ? {} : { ips }),
    ...(routes.length === 0 ? {} : { routes }),
    dns: dns ?? {},
  };
}

const ipamOf = ({ ipam }: Attached): IpamResult | null => (ipam ?? null) as IpamResult | null;

function interfacesOf(cniVersion: string, { interfaces, mtu }: Attached): Json[] {
  return interfaces.map(({ name, mac, sandbox }) => ({
    name,
    ...(mac === undefined ? {} : { mac }),
    // The field exists since 1.1.0.
    ...(cniVersion === "1.1.0" ? { mtu } : {}),
    ...(sandbox === undefined ? {} : { sandbox }),
  }));
}

function ipsOf(cniVersion: string, attached: Attached, index: number): Json[] {
  const ips = ipamOf(attached)?.ips ?? [];
  return attached.addresses.map((address, at) => {
    // The agent keeps the order of IPAM's addresses.
    const gateway = ips[at]?.gateway;
    return {
      // The field exists until 0.4.0.
      ...(cniVersion.startsWith("0.") ? { version: address.includes(":") ? "6" : "4" } : {}),
      interface: index,
      address: resultAddress(address),
      ...(gateway === undefined ? {} : { gateway }),
    };
  });
}

function routeOf(cniVersion: string, { destination, gateway, ...numbers }: Route): Json {
  const fields = ROUTE_NUMBERS.filter((field) => numbers[field] !== undefined);
  return {
    dst: destination,
    ...(gateway === null ? {} : { gw: gateway }),
    ...(cniVersion === "1.1.0"
      ? Object.fromEntries(fields.map((field) => [field, numbers[field]]))
      : {}),
  };
}

/** Returns the addresses and the destinations of routes that CHECK must find. */
export function listedIn(result: Json) {
  const texts = (value: unknown, field: string) =>
    list(value).flatMap((item) => {
      const text = (item as Json | null)?.[field];
      return typeof text === "string" ? [text] : [];
    });
  return { addresses: texts(result.ips, "address"), destinations: texts(result.routes, "dst") };
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
