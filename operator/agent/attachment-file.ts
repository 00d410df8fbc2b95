/** Checks an attachment file when it is read, so that an invalid field cannot break the agent later. */

import { deviceKinds } from "../../datapath/registry/datapaths.ts";
import type { Attachment } from "../../model/attachments/attachment.ts";
import { parseAddress, parseInterfaceAddress, parsePrefix } from "../../net/ip.ts";
import { MAC_FORM } from "../../net/mac.ts";
import { FORMS } from "../agent-protocol.ts";

type Check = (value: unknown) => boolean;

const text =
  (form: RegExp): Check =>
  (value) =>
    typeof value === "string" && form.test(value);

const listOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check);

const isPrefix: Check = (value) => typeof value === "string" && parsePrefix(value) !== undefined;
const isInterfaceAddress: Check = (value) =>
  typeof value === "string" && parseInterfaceAddress(value) !== undefined;
const isAddress: Check = (value) => typeof value === "string" && parseAddress(value) !== undefined;
const isNumber: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const isOptional =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);

function isRoute(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { destination, gateway, ...rest } = value as Record<string, unknown>;
  if (!isPrefix(destination) || !(gateway === null || isAddress(gateway))) return false;
  if (!isOptional(isAddress)(rest.source)) return false;
  return ROUTE_NUMBERS.every((field) => isOptional(isNumber)(rest[field]));
}

const ROUTE_NUMBERS = ["priority", "table", "scope", "mtu", "advmss"] as const;

/** null: the interface is being created. */
function isDevice(value: unknown): boolean {
  if (value === null) return true;
  if (typeof value !== "object") return false;
  const { index, kind, datapath, sessionId, mtu, isLowered, kept } = value as Record<
    string,
    unknown
  >;
  const isKnown = ["pseudowire", "pod"].includes(String(kind)) && isDeviceKind(datapath);
  const hasNumbers = [index, sessionId, mtu].every(isNumber);
  return isKnown && hasNumbers && typeof isLowered === "boolean" && isOptional(isKept)(kept);
}

function isKept(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { addresses, routes } = value as Record<string, unknown>;
  return listOf(isInterfaceAddress)(addresses) && listOf(isRoute)(routes);
}

const isDeviceKind: Check = (value) => value === null || deviceKinds.has(String(value));

function isGivenMtu(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { pathMtu, specMtu } = value as Record<string, unknown>;
  return [pathMtu, specMtu].every((bytes) => bytes === null || isNumber(bytes));
}

/** Checks only the two lists that the plugin reads when it repeats a result. */
function isIpamResult(value: unknown): boolean {
  if (value === undefined || value === null) return true;
  if (typeof value !== "object" || Array.isArray(value)) return false;
  const { ips = [], routes = [] } = value as Record<string, unknown>;
  return Array.isArray(ips) && Array.isArray(routes);
}

/** One check a field: tsc rejects a field of Attachment without a check. */
const CHECKS: Readonly<Record<keyof Attachment, Check>> = {
  containerId: text(FORMS.containerId),
  cniIfname: text(FORMS.ifname),
  ifname: text(FORMS.ifname),
  netns: text(FORMS.netns),
  netnsIdentity: text(/./),
  session: text(FORMS.session),
  // The container ID if the runtime passes no pod name.
  pod: (value) => text(FORMS.pod)(value) || text(FORMS.containerId)(value),
  network: text(FORMS.network),
  mac: text(MAC_FORM),
  addresses: listOf(isInterfaceAddress),
  routes: listOf(isRoute),
  createdAt: (value) => typeof value === "string" && !Number.isNaN(Date.parse(value)),
  leaving: (value) => typeof value === "boolean",
  ipam: isIpamResult,
  isComplete: isOptional((value) => typeof value === "boolean"),
  device: isOptional(isDevice),
  mtu: isOptional(isGivenMtu),
};

/**
 * Returns the attachment, including fields that this version does not know.
 * @throws TypeError that names the invalid field
 */
export function parseAttachment(value: unknown): Attachment {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError("is not a JSON object");
  }
  const fields = value as Readonly<Record<string, unknown>>;
  for (const [name, check] of Object.entries(CHECKS)) {
    if (check(fields[name])) continue;
    const shown = JSON.stringify(fields[name])?.slice(0, 100) ?? "missing";
    throw new TypeError(`its field ${name} is not valid: ${shown}`);
  }
  return value as Attachment;
}
