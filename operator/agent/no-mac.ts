/** Rejects requests that need a MAC address for an interface without one. */
import { hasMac } from "../../model/pseudowires/index.ts";
import { AgentError } from "../agent-error.ts";
import type { AttachRequest } from "../agent-protocol.ts";
import type { ResolvedSession } from "../resolve/resolved.ts";

/** IPAM plugins that identify the client by its MAC address. */
const NEED_MAC: ReadonlySet<string | null> = new Set(["dhcp"]);

/** @throws AgentError if the request needs a MAC address, and the session's interface has none */
export function requireNoMac(
  { session, object }: Pick<ResolvedSession, "session" | "object">,
  { mac, ipamType = null }: Pick<AttachRequest, "mac" | "ipamType">,
): void {
  if (hasMac(session)) return;
  const why = `L2tpSession ${session.key} has spec.pseudowireType ${object.spec.pseudowireType}, whose interface has no MAC address`;
  if (mac !== null) throw new AgentError("UnsupportedField", `mac ${mac}: ${why}`, "omit mac");
  if (!NEED_MAC.has(ipamType)) return;
  const remedy = "use another IPAM plugin, such as host-local or static";
  throw new AgentError("UnsupportedField", `ipam.type ${ipamType}: ${why}`, remedy);
}
