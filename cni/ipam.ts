/** Reads an IPAM plugin's result, in the form of every version of the specification. */
import type { Route } from "../operator/agent-protocol.ts";
import { CniCode, CniError } from "./errors.ts";

type Json = Readonly<Record<string, unknown>>;

/** The `dns` field of a result or configuration. */
export interface Dns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

/** An IPAM plugin's result. */
export interface IpamResult {
  readonly ips: readonly { readonly address: string; readonly gateway?: string }[];
  readonly routes: readonly IpamRoute[];
  readonly dns?: Dns;
}

/** The numeric fields exist since 1.1.0. */
interface IpamRoute extends RouteNumbers {
  readonly dst: string;
  readonly gw?: string;
}

export type RouteNumbers = Pick<Route, (typeof ROUTE_NUMBERS)[number]>;
export const ROUTE_NUMBERS = ["mtu", "advmss", "priority", "table", "scope"] as const;

/**
 * Returns all fields of the specification, except `interfaces` and indexes into it: an IPAM plugin creates
 * no interfaces.
 * @throws CniError that names the field if the text is not a result
 */
export function parseIpamResult(type: string, text: string): IpamResult {
  let json: Json;
  try {
    json = JSON.parse(text) as Json;
    if (typeof json !== "object" || json === null) throw new TypeError("not an object");
  } catch (error) {
    const message = `IPAM plugin ${type} returned an invalid result: ${(error as Error).message}`;
    throw new CniError(CniCode.DecodingFailure, message);
  }
  const reader = new Reader(type);
  const legacy = [json.ip4, json.ip6].filter((item) => item !== undefined && item !== null);
  const old = legacy.map((item, index) => reader.object(item, `ip4 or ip6 (${index})`));
  return {
    ips: [
      ...reader.list(json.ips, "ips").map((ip, index) => reader.ip(ip, `ips[${index}]`, "address")),
      // The form of 0.2.0 and earlier.
      ...old.map((item) => reader.ip(item, "ip4 or ip6", "ip")),
    ],
    routes: [json.routes, ...old.map(({ routes }) => routes)].flatMap((routes) =>
      reader.list(routes, "routes").map((route, index) => reader.route(route, `routes[${index}]`)),
    ),
    ...(json.dns === undefined || json.dns === null ? {} : { dns: parseDns(json.dns, reader) }),
  };
}

/** Returns the configuration's `dns`. @throws CniError that names the field */
export function configuredDns(value: unknown): Dns | undefined {
  return value === undefined || value === null ? undefined : parseDns(value, new Reader(null));
}

function parseDns(value: unknown, reader: Reader): Dns {
  const dns = reader.object(value, "dns");
  const lists = (["nameservers", "search", "options"] as const).flatMap((field) => {
    const items = reader.list(dns[field], `dns.${field}`);
    const texts = items.map((item, index) => reader.text(item, `dns.${field}[${index}]`));
    return texts.length === 0 ? [] : [[field, texts]];
  });
  const { domain } = dns;
  const named =
    domain === undefined || domain === "" ? {} : { domain: reader.text(domain, "dns.domain") };
  return { ...named, ...Object.fromEntries(lists) };
}

class Reader {
  /** null: the network configuration. */
  readonly #plugin: string | null;

  constructor(plugin: string | null) {
    this.#plugin = plugin;
  }

  list(value: unknown, path: string): readonly unknown[] {
    if (value === undefined || value === null) return [];
    return Array.isArray(value) ? value : this.#refuse(path, value, "must be a list");
  }

  object(value: unknown, path: string): Json {
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? (value as Json) : this.#refuse(path, value, "must be an object");
  }

  text(value: unknown, path: string): string {
    return typeof value === "string" ? value : this.#refuse(path, value, "must be a string");
  }

  ip(value: unknown, path: string, field: "address" | "ip") {
    const ip = this.object(value, path);
    const { gateway } = ip;
    return {
      address: this.text(ip[field], `${path}.${field}`),
      ...(gateway ? { gateway: this.text(gateway, `${path}.gateway`) } : {}),
    };
  }

  route(value: unknown, path: string): IpamRoute {
    const route = this.object(value, path);
    const numbers = ROUTE_NUMBERS.flatMap((field) => {
      const number = route[field];
      // Plugins in Go omit a field, or write 0, which means the same.
      const isUnset =
        number === undefined || number === null || (number === 0 && field !== "scope");
      if (isUnset) return [];
      if (typeof number !== "number") this.#refuse(`${path}.${field}`, number, "must be a number");
      return [[field, number]];
    });
    return {
      dst: this.text(route.dst, `${path}.dst`),
      ...(route.gw ? { gw: this.text(route.gw, `${path}.gw`) } : {}),
      ...Object.fromEntries(numbers),
    };
  }

  #refuse(path: string, value: unknown, what: string): never {
    const shown = JSON.stringify(value)?.slice(0, 100);
    if (this.#plugin === null) {
      throw new CniError(CniCode.InvalidConfig, `${path}: ${shown}: ${what}`);
    }
    const message = `IPAM plugin ${this.#plugin} returned ${path}: ${shown}: ${what}`;
    throw new CniError(CniCode.DecodingFailure, message);
  }
}

const isIpv6 = (address: string): boolean => address.includes(":");

/** RT_SCOPE_LINK: destinations of this scope, and of narrower scopes, are on the link itself. */
const SCOPE_LINK = 253;

/**
 * Returns routes for the kernel. A route without a gateway gets the gateway of an address of the same family,
 * unless the scope of the route is the link.
 */
export function ipamRoutes({ ips, routes }: IpamResult): Route[] {
  return routes.map(({ dst, gw, ...numbers }) => {
    if ((numbers.scope ?? 0) >= SCOPE_LINK) {
      return { ...numbers, destination: dst, gateway: gw ?? null };
    }
    const default_ = ips.find(
      ({ address, gateway }) => gateway !== undefined && isIpv6(address) === isIpv6(dst),
    )?.gateway;
    return { ...numbers, destination: dst, gateway: gw ?? default_ ?? null };
  });
}
