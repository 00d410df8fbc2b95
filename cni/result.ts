/** Results of ADD, in the form of each version of the specification. */
import type { Attached } from "../operator/agent/protocol.ts";
import { CniCode, CniError } from "./errors.ts";

type Json = Readonly<Record<string, unknown>>;

/** What IPAM answered, and what is done with it. */
export interface IpamResult {
  readonly ips: readonly { readonly address: string; readonly gateway?: string }[];
  readonly routes: readonly { readonly dst: string; readonly gw?: string }[];
  readonly dns?: unknown;
}

export const NO_IPAM: IpamResult = { ips: [], routes: [] };

/** @throws CniError where the text is no result */
export function parseIpamResult(type: string, text: string): IpamResult {
  try {
    const { ips, routes, dns } = JSON.parse(text) as Partial<IpamResult>;
    return { ips: ips ?? [], routes: routes ?? [], ...(dns === undefined ? {} : { dns }) };
  } catch (error) {
    const message = `IPAM plugin ${type} answered no result: ${(error as Error).message}`;
    throw new CniError(CniCode.DecodingFailure, message);
  }
}

const isIpv6 = (address: string): boolean => address.includes(":");

/** Routes for the kernel: one that names no gateway takes that of an address of its family. */
export function ipamRoutes({ ips, routes }: IpamResult) {
  return routes.map(({ dst, gw }) => {
    const default_ = ips.find(
      ({ address, gateway }) => gateway !== undefined && isIpv6(address) === isIpv6(dst),
    )?.gateway;
    return { destination: dst, gateway: gw ?? default_ ?? null };
  });
}

/** Adds attached interfaces to a result, or starts one. */
export function addResult(
  cniVersion: string,
  before: Json | null,
  attached: readonly Attached[],
): Json {
  const interfaces = [...list(before?.interfaces)];
  const ips = [...list(before?.ips)];
  const routes = [...list(before?.routes)];
  let dns = before?.dns;
  for (const item of attached) {
    interfaces.push(...interfacesOf(cniVersion, item));
    // The pod's interface is the last.
    ips.push(...ipsOf(cniVersion, item, interfaces.length - 1));
    const result = ipamOf(item);
    routes.push(...result.routes);
    dns ??= result.dns;
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

const ipamOf = ({ ipam }: Attached): IpamResult => (ipam ?? NO_IPAM) as IpamResult;

function interfacesOf(cniVersion: string, { interfaces, mtu }: Attached): Json[] {
  return interfaces.map(({ name, mac, sandbox }) => ({
    name,
    mac,
    // A field since 1.1.0.
    ...(cniVersion === "1.1.0" ? { mtu } : {}),
    ...(sandbox === undefined ? {} : { sandbox }),
  }));
}

function ipsOf(cniVersion: string, attached: Attached, index: number): Json[] {
  const { ips } = ipamOf(attached);
  return attached.addresses.map((address) => {
    const gateway = ips.find((ip) => ip.address === address)?.gateway;
    return {
      // A field until 0.4.0.
      ...(cniVersion.startsWith("0.") ? { version: isIpv6(address) ? "6" : "4" } : {}),
      interface: index,
      address,
      ...(gateway === undefined ? {} : { gateway }),
    };
  });
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
