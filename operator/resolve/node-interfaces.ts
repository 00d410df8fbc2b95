/** Checks and conditions of sessions that are connected to a node interface in place of pods. */
import {
  attachmentMode,
  type InterfaceState,
  type NodeInterface,
} from "../../model/attachments/index.ts";
import { canonicalInterfaceAddress, parseInterfaceAddress } from "../../net/ip.ts";
import { INTERFACE_NOT_ALLOWED, whyNotInterface } from "../api/interfaces.ts";
import type { Condition, L2tpSession, L2tpTunnel } from "../api/types.ts";
import { RefusalError } from "./refusal.ts";
import type { ResolvedSession } from "./resolved.ts";

/** @throws RefusalError if the tunnel does not allow the session's interface, or an address is invalid */
export function requireInterface(session: L2tpSession, tunnel: L2tpTunnel): void {
  const whyNot = whyNotInterface(tunnel, session);
  if (whyNot !== null) throw new RefusalError("Accepted", INTERFACE_NOT_ALLOWED, whyNot);
  const addresses = session.spec.attachment?.addresses ?? [];
  const wrong = addresses.findIndex((address) => parseInterfaceAddress(address) === undefined);
  if (wrong < 0) return;
  const message = `spec.attachment.addresses[${wrong}]: "${addresses[wrong]}": not an address with a prefix length; use an address such as 192.0.2.1/24`;
  throw new RefusalError("Accepted", "Invalid", message);
}

/** True if the session's device becomes a node interface. */
export function createsInterface({ spec }: Pick<L2tpSession, "spec">): boolean {
  return spec.attachment?.create === true;
}

/** Returns the session's node interface with its state; undefined: the session is for pods. */
export function wantedInterface(
  { mode, object }: Pick<ResolvedSession, "mode" | "object">,
  state: () => InterfaceState,
): NodeInterface | undefined {
  const { interface: name, addresses = [] } = object.spec.attachment ?? {};
  if (attachmentMode(mode).onNode === undefined || name === undefined) return undefined;
  return { name, addresses: addresses.map(canonicalInterfaceAddress), state: state() };
}

/**
 * Returns the condition Attached of a session with a node interface.
 * @param living pods that attached before the mode was set
 * @returns undefined: the condition is about pods
 */
export function interfaceCondition(
  living: readonly unknown[],
  { nodeInterface }: Pick<ResolvedSession, "nodeInterface">,
): Pick<Condition, "type" | "status" | "reason" | "message"> | undefined {
  if (nodeInterface === undefined || living.length > 0) return undefined;
  return { type: "Attached", ...describe(nodeInterface) };
}

function describe({
  name,
  state,
}: NodeInterface): Pick<Condition, "status" | "reason" | "message"> {
  switch (state.kind) {
    case "own":
      return attached(`The pseudowire is interface ${name} of the node.`);
    case "port":
      return state.isUp ? attached(`The pseudowire is a port of bridge ${name}.`) : noCarrier(name);
    case "joined":
      return state.isUp
        ? attached(`The pseudowire is joined to interface ${name} of the node.`)
        : noCarrier(name);
    case "unusable":
      return { status: "False", reason: state.reason, message: state.message };
  }
}

const attached = (message: string) => ({ status: "True", reason: "Attached", message }) as const;

function noCarrier(name: string) {
  const message = `Interface ${name} of the node is down or has no carrier. In a Managed tunnel the peer receives circuit status down.`;
  return { status: "False", reason: "NoCarrier", message } as const;
}
