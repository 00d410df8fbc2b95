/** Reports on objects: their status, and the rows of l2tpctl. */
import type { SessionControlState } from "../../datapath/control-state.ts";
import type { Listing, SessionState } from "../../datapath/datapath.ts";
import { sessionOnWire, tunnelIdsOnWire } from "../../datapath/on-wire.ts";
import { traitsOf } from "../../datapath/registry/datapaths.ts";
import { trafficOf } from "../../datapath/tunnel-counters.ts";
import { type Attachment, modeNameOf, type PresentLinks } from "../../model/attachments/index.ts";
import { pickFeatures } from "../../model/features.ts";
import { linkId } from "../../model/link-label.ts";
import type { Session } from "../../model/model.ts";
import { describePseudowire, hasMac } from "../../model/pseudowires/index.ts";
import { formatEndpoint } from "../../net/ip.ts";
import type {
  AttachmentRow,
  ConditionRow,
  SessionControlRow,
  SessionRow,
  TunnelRow,
} from "../agent-protocol.ts";
import type { L2tpSession, L2tpTunnel, SessionSpec } from "../api/types.ts";
import type { Retained } from "../resolve/desired.ts";
import {
  invalidForm,
  type Placed,
  refusedConditions,
  sessionStatus,
  tunnelStatus,
  type UndatedCondition,
} from "../resolve/status.ts";
import type { Kind, StatusInput, StatusSink, Withdrawn } from "../sources/source.ts";
import type { AttachmentStore } from "./attachments.ts";
import { shownInterface } from "./interfaces.ts";
import type { PassState } from "./pass-state.ts";
import { linkOf } from "./pod-devices.ts";
import { isAlive } from "./pod-netns.ts";

/** Returns the status of every object of the node, including invalid ones. */
export function statusInputs(
  state: PassState,
  store: AttachmentStore,
  spared: Retained,
): StatusInput[] {
  const { resolved, failures, listing, links } = state;
  const inputs: StatusInput[] = [];
  const tunnels = new Map(listing.tunnels.map((item) => [item.tunnel.name, item.control]));
  const sessions = new Map(listing.sessions.map((item) => [item.session.key, item]));
  for (const [key, tunnel] of resolved.tunnels) {
    const status = { ...tunnelStatus(tunnel, failures, tunnels.get(key)) };
    inputs.push({ kind: "L2tpTunnel", key, ...specOf(tunnel.object), status });
  }
  for (const [key, session] of resolved.sessions) {
    const attachments = store.ofSession(key).map((attachment) => place(attachment, links));
    const mtu = links.get(linkId.pseudowire(key))?.mtu;
    const status = { ...sessionStatus(session, failures, attachments, sessions.get(key), mtu) };
    inputs.push({ kind: "L2tpSession", key, ...specOf(session.object), status });
  }
  inputs.push(...refusedInputs("L2tpTunnel", state, spared.tunnels));
  inputs.push(...refusedInputs("L2tpSession", state, spared.sessions));
  const seen = new Set(inputs.map(({ kind, key }) => `${kind} ${key}`));
  for (const { kind, key, problems } of state.rejections) {
    if (key === undefined || (kind !== "L2tpTunnel" && kind !== "L2tpSession")) continue;
    if (seen.has(`${kind} ${key}`) || !isPlainKey(key)) continue;
    const runs = kind === "L2tpTunnel" ? state.programmed.tunnels : state.programmed.sessions;
    const conditions = refusedConditions(invalidForm(problems), runs.has(key));
    inputs.push({ kind, key, spec: null, status: { conditions } });
  }
  inputs.push(...state.withdrawn.map((item) => withdrawnInput(item, state, spared)));
  return inputs;
}

function place(attachment: Attachment, links: PresentLinks): Placed {
  const name = linkOf(attachment, links)?.name ?? null;
  return { attachment, alive: isAlive(attachment), name };
}

function specOf(object: L2tpTunnel | L2tpSession | undefined) {
  return { spec: object?.spec ?? null, generation: object?.metadata.generation };
}

/** Returns the status of an object that must be removed from the node: removed, or the reason why not. */
function withdrawnInput(
  { kind, key, generation, verdict }: Withdrawn,
  { failures }: PassState,
  spared: Retained,
): StatusInput {
  const isTunnel = kind === "L2tpTunnel";
  const failure = failures.get(`${isTunnel ? "tunnel" : "session"} ${key}`);
  const stays = isTunnel ? spared.tunnels(key) : spared.sessions(key);
  const message = failure?.message ?? "An unreadable manifest may still define it.";
  const reason = failure === undefined ? "Retained" : "Failed";
  const stillThere: UndatedCondition = { ...verdict, reason, message };
  const conditions = [failure === undefined && !stays ? verdict : stillThere];
  return { kind, key, spec: null, generation, status: { conditions } };
}

/** True if the key is safe as a file name: names of invalid objects are not validated. */
function isPlainKey(key: string): boolean {
  return /^[a-z0-9]([-a-z0-9.]{0,200})(\/[a-z0-9][-a-z0-9]{0,62})?$/.test(key);
}

function refusedInputs(
  kind: Kind,
  { resolved, intake, programmed }: PassState,
  spared: (key: string) => boolean,
): StatusInput[] {
  const isTunnel = kind === "L2tpTunnel";
  const refused = isTunnel ? resolved.refusedTunnels : resolved.refusedSessions;
  const objects: ReadonlyMap<string, L2tpTunnel | L2tpSession> = isTunnel
    ? intake.tunnels
    : intake.sessions;
  const running = isTunnel ? programmed.tunnels : programmed.sessions;
  return Array.from(refused, ([key, refusal]) => {
    const conditions = refusedConditions(refusal, running.has(key) && spared(key));
    return { kind, key, ...specOf(objects.get(key)), status: { conditions } };
  });
}

const counters = (value: object | undefined): Record<string, number> =>
  ({ ...value }) as Record<string, number>;

/** The condition of an object that is programmed, and in no readable file. */
const UNREADABLE: ConditionRow = {
  type: "Accepted",
  status: "Unknown",
  reason: "ManifestUnreadable",
  message: "No readable manifest defines this object. The last valid version stays programmed.",
};

function conditionsOf(store: StatusSink, kind: Kind, key: string): readonly ConditionRow[] {
  const conditions = store.conditionsOf(kind, key);
  if (conditions.length === 0) return [UNREADABLE];
  return conditions.map(({ type, status, reason, message }) => ({ type, status, reason, message }));
}

/** Returns the keys of all objects of the kind: valid, refused, invalid, and those only programmed. */
function allKeys(
  kind: Kind,
  { rejections }: PassState,
  ...known: readonly ReadonlyMap<string, unknown>[]
): string[] {
  const broken = rejections.flatMap((item) => (item.kind === kind ? (item.key ?? []) : []));
  const keys = new Set([...known.flatMap((map) => [...map.keys()]), ...broken.filter(isPlainKey)]);
  return [...keys].sort();
}

/** Returns the rows of `l2tpctl tunnels`. */
export function tunnelRows(state: PassState, listing: Listing, status: StatusSink): TunnelRow[] {
  const programmed = new Map(listing.tunnels.map((item) => [item.tunnel.name, item]));
  const sessions = Map.groupBy(listing.sessions, ({ session }) => session.tunnel);
  const { resolved, intake } = state;
  const names = allKeys("L2tpTunnel", state, resolved.tunnels, resolved.refusedTunnels, programmed);
  return names.map((name) => {
    const known = resolved.tunnels.get(name);
    const spec = (known?.object ?? intake.tunnels.get(name))?.spec;
    const live = programmed.get(name);
    const tunnel = known?.tunnel ?? live?.tunnel;
    const inside = sessions.get(name) ?? [];
    const ids = tunnel && tunnelIdsOnWire({ ...live, tunnel });
    return {
      name,
      encapsulation: spec?.encapsulation ?? tunnel?.encapsulation ?? "",
      local: tunnel === undefined ? "" : formatEndpoint(tunnel.local),
      remote:
        tunnel === undefined
          ? (spec?.remote.address ?? "")
          : formatEndpoint(live?.control?.remote ?? tunnel.remote),
      tunnelId: ids?.tunnelId || spec?.tunnelId || null,
      peerTunnelId: spec?.peerTunnelId ?? (ids?.peerTunnelId || null),
      datapath: tunnel === undefined ? "" : traitsOf(tunnel.datapath).apiName,
      underlayMtu: known?.underlayMtu ?? null,
      sessions: inside.length,
      traffic: trafficOf(inside),
      conditions: conditionsOf(status, "L2tpTunnel", name),
      control: live?.control ?? null,
      counters: counters(live?.endpoint),
    };
  });
}

/** Returns the rows of `l2tpctl sessions`. */
export function sessionRows(
  state: PassState,
  listing: Listing,
  status: StatusSink,
  store: AttachmentStore,
  links: PresentLinks,
): SessionRow[] {
  const programmed = new Map(listing.sessions.map((item) => [item.session.key, item]));
  const { resolved, intake } = state;
  const { sessions, refusedSessions } = resolved;
  const keys = allKeys("L2tpSession", state, sessions, refusedSessions, programmed);
  return keys.map((key) => sessionRow(key, programmed.get(key)));

  function sessionRow(key: string, live: SessionState | undefined): SessionRow {
    const known = resolved.sessions.get(key);
    const spec = (known?.object ?? intake.sessions.get(key))?.spec;
    const session = known?.session ?? live?.session;
    const attachments = store.livingOf(key).map((attachment) => place(attachment, links));
    return {
      name: key,
      tunnel: spec?.tunnelRef.name ?? session?.tunnel ?? "",
      ...idsOf(session, live, spec),
      interface: links.get(linkId.pseudowire(key))?.name ?? null,
      mtu: links.get(linkId.pseudowire(key))?.mtu ?? (session?.mtu || null),
      pseudowireType: session === undefined ? "" : describePseudowire(session),
      mode: modeNameOf(spec?.attachment?.mode),
      attachedTo: [
        ...attachments.map(({ attachment: { pod, ifname }, name }) => `${pod}:${name ?? ifname}`),
        ...shownInterface(known?.nodeInterface, attachments.length),
      ],
      switchedTo: known?.session.switchTo ?? null,
      lastReceivedMsAgo: live?.lastReceivedMsAgo ?? null,
      ...pickFeatures(live ?? {}),
      conditions: conditionsOf(status, "L2tpSession", key),
      control: live?.control === undefined ? null : withoutCookies(live.control),
      counters: counters(live?.counters),
    };
  }
}

/** Returns the session IDs in frames; null for a session that is not negotiated yet. */
function idsOf(
  session: Session | undefined,
  live: SessionState | undefined,
  spec: SessionSpec | undefined,
): Pick<SessionRow, "sessionId" | "peerSessionId"> {
  if (live?.control !== undefined || session?.control !== undefined) {
    const onWire = live === undefined ? null : sessionOnWire(live);
    const { sessionId = null, peerSessionId = null } = onWire ?? {};
    return { sessionId, peerSessionId };
  }
  return {
    sessionId: session?.sessionId ?? spec?.sessionId ?? null,
    peerSessionId: spec?.peerSessionId ?? session?.peerSessionId ?? null,
  };
}

function withoutCookies({ established, ...control }: SessionControlState): SessionControlRow {
  if (established === null) return { ...control, established };
  const { rxCookie: _, txCookie: __, ...rest } = established;
  return { ...control, established: rest };
}

/** Returns the rows of `l2tpctl attachments`. */
export function attachmentRows(
  state: PassState,
  store: AttachmentStore,
  links: PresentLinks,
): AttachmentRow[] {
  const rows = Array.from(store.all(), (attachment): AttachmentRow => {
    const { containerId, cniIfname, pod, session, leaving, netns } = attachment;
    const link = linkOf(attachment, links);
    const ifname = link?.name ?? attachment.ifname;
    const isSeen = link !== undefined && !link.isElsewhere;
    const known = state.resolved.sessions.get(session);
    const own = known === undefined || hasMac(known.session) ? attachment.mac : "";
    const { mac, addresses } = isSeen
      ? { ...link, mac: link.mac ?? "" }
      : { ...attachment, mac: own };
    const runs = known !== undefined || state.programmed.sessions.has(session);
    const living = runs ? "attached" : "session missing";
    const rowState = !isAlive(attachment) ? "namespace gone" : leaving ? "leaving" : living;
    const whose = { containerId, cniIfname, ifname, pod };
    return { ...whose, session, netns, mac, addresses, state: rowState };
  });
  return rows.sort((a, b) => (keyOfRow(a) < keyOfRow(b) ? -1 : 1));
}

const keyOfRow = ({ pod, ifname }: AttachmentRow): string => `${pod} ${ifname}`;
