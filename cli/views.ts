/** Renders the agent's answers as text. Pure. */
import {
  type AttachmentRow,
  type ConditionRow,
  type DumpRow,
  type Examination,
  faultOf,
  type SessionRow,
  type TunnelRow,
} from "../operator/agent-protocol.ts";
import { table } from "./table.ts";

/** A table of items of one kind. */
export interface View<T> {
  readonly head: readonly string[];
  readonly row: (item: T) => readonly string[];
  /** Additional columns with `-o wide`. */
  readonly wideHead: readonly string[];
  readonly wideRow: (item: T) => readonly string[];
  /** The item's faults, printed as lines below the table. */
  readonly trouble: (item: T) => readonly string[];
  /** Printed instead of an empty table. */
  readonly none: string;
}

/** Renders a table, and the faults of its items. @param wide adds the columns of `-o wide` */
export function render<T>(view: View<T>, rows: readonly T[], wide: boolean): string {
  if (rows.length === 0) return view.none;
  const head = wide ? [...view.head, ...view.wideHead] : view.head;
  const cells = rows.map((row) =>
    wide ? [...view.row(row), ...view.wideRow(row)] : view.row(row),
  );
  return [table(head, cells), ...rows.flatMap((row) => view.trouble(row))].join("\n");
}

const or = (value: number | string | null): string => (value === null ? "-" : String(value));

/** Returns "Up", or the reason of the first condition that is not True. */
export function stateOf(conditions: readonly ConditionRow[]): string {
  const bad = faultOf(conditions);
  return bad === undefined ? "Up" : bad.reason;
}

function troubleOf({ name, conditions }: TunnelRow | SessionRow): string[] {
  const bad = faultOf(conditions);
  return bad === undefined ? [] : [`! ${name}: ${bad.message}`];
}

/** Returns a duration as "90s", "5m" or "3h"; null as "never". */
export function ago(milliseconds: number | null): string {
  if (milliseconds === null) return "never";
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 120 ? `${minutes}m` : `${Math.floor(minutes / 60)}h`;
}

const sum = (counters: Readonly<Record<string, number>>, names: readonly string[]): number =>
  names.reduce((total, name) => total + (counters[name] ?? 0), 0);

/** Counters of dropped frames. `rxErrors` includes wrong cookies, invalid and oversize frames, and other VLANs. */
const DROPS = ["txSpoofed", "rxErrors", "rxSeqDiscards", "rxSourceMismatch"];
const ENDPOINT_DROPS = [
  "rxShort",
  "rxWrongVersion",
  "rxControl",
  "rxControlDropped",
  "rxUnknownSession",
  "rxTruncated",
  "rxErrors",
];

const nonZero = (counters: Readonly<Record<string, number>>): string =>
  Object.entries(counters)
    .filter(([, value]) => value > 0)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");

/** Returns the columns CONTROL, HEARD, IN-FLIGHT, WINDOW (own/peer's) and RETRANS of the control connection. */
function controlOf({ control }: TunnelRow): string[] {
  if (control === null) return ["-", "-", "-", "-", "-"];
  const { state, localConnectionId, peerConnectionId, heardMsAgo } = control;
  const { window, peerWindow, unacknowledged, retransmitted } = control;
  const ids = state === "established" ? ` ${localConnectionId}/${peerConnectionId}` : "";
  return [
    `${state}${ids}`,
    heardMsAgo === null ? "-" : ago(heardMsAgo),
    String(unacknowledged),
    `${window}/${peerWindow}`,
    String(retransmitted),
  ];
}

/** Returns each remote with the time since its last message. "*" marks the active remote. */
function remotesOf({ control }: TunnelRow): string {
  if (control === null || control.paths.length < 2) return "-";
  const shown = control.paths.map(({ remote, heardMsAgo }, index) => {
    const mark = index === control.active ? "*" : "";
    return `${mark}${remote.address} ${heardMsAgo === null ? "down" : ago(heardMsAgo)}`;
  });
  return shown.join(", ");
}

/** Returns the negotiated parameters, without the cookies, or the phase of the negotiation. */
function negotiatedOf({ control }: SessionRow): string {
  if (control === null) return "-";
  if (control.established === null) return control.phase;
  const { sessionId, peerSessionId, l2SpecificSublayer, sequencing } = control.established;
  const numbered = [sequencing.send ? "send" : "", sequencing.receive ? "receive" : ""];
  const sequence = numbered.filter((way) => way !== "").join(",");
  const sublayer = l2SpecificSublayer === "None" ? "no sublayer" : "sublayer";
  return `${sessionId}/${peerSessionId}, ${sublayer}${sequence === "" ? "" : `, seq ${sequence}`}`;
}

export const TUNNEL_VIEW: View<TunnelRow> = {
  head: ["NAME", "STATE", "ENCAP", "LOCAL", "REMOTE", "ID", "PEER", "SESSIONS"],
  row: (item) => [
    item.name,
    stateOf(item.conditions),
    item.encapsulation,
    item.local,
    item.remote,
    or(item.tunnelId),
    or(item.peerTunnelId),
    String(item.sessions),
  ],
  wideHead: [
    "DATAPATH",
    "CONTROL",
    "HEARD",
    "IN-FLIGHT",
    "WINDOW",
    "RETRANS",
    "REMOTES",
    "PATH-MTU",
    "RX",
    "TX",
    "ENDPOINT-DROPS",
    "ENDPOINT-COUNTERS",
  ],
  wideRow: (item) => [
    item.datapath,
    ...controlOf(item),
    remotesOf(item),
    or(item.underlayMtu),
    String(item.traffic.rxPackets),
    String(item.traffic.txPackets),
    String(sum(item.counters, ENDPOINT_DROPS)),
    nonZero(item.counters),
  ],
  trouble: troubleOf,
  none: "No tunnels on this node; run l2tpctl doctor.",
};

export const SESSION_VIEW: View<SessionRow> = {
  head: [
    ...["NAME", "STATE", "TUNNEL", "ID", "PEER", "MTU", "INTERFACE", "ATTACHED-TO"],
    ...["RX", "TX", "DROPS", "LAST-RX"],
  ],
  row: (item) => [
    item.name,
    stateOf(item.conditions),
    item.tunnel,
    or(item.sessionId),
    or(item.peerSessionId),
    or(item.mtu),
    or(item.interface),
    item.attachedTo.join(",") || (item.switchedTo ? `switched to ${item.switchedTo}` : "-"),
    String(item.counters.rxPackets ?? 0),
    String(item.counters.txPackets ?? 0),
    String(sum(item.counters, DROPS)),
    ago(item.lastReceivedMsAgo),
  ],
  wideHead: ["TYPE", "MODE", "FAST-PATH", "NEGOTIATED", "COUNTERS"],
  wideRow: (item) => [
    item.pseudowireType || "-",
    item.mode,
    item.fastPath ? "yes" : "-",
    negotiatedOf(item),
    nonZero(item.counters),
  ],
  trouble: troubleOf,
  none: "No sessions on this node; run l2tpctl doctor.",
};

export const ATTACHMENTS: View<AttachmentRow> = {
  head: ["POD", "INTERFACE", "SESSION", "STATE", "MAC", "ADDRESSES"],
  row: (item) => [
    item.pod,
    item.ifname,
    item.session,
    item.state,
    item.mac || "-",
    item.addresses.join(",") || "-",
  ],
  wideHead: ["CONTAINER", "CNI-IFNAME", "NETNS"],
  wideRow: (item) => [item.containerId, item.cniIfname, item.netns],
  trouble: () => [],
  none: "No pods are attached on this node.",
};

/** Sessions are indented below their tunnels. */
export const DUMP: View<DumpRow> = {
  head: ["ID", "PEER", "DATAPATH", "TYPE", "ENDPOINTS", "INTERFACE", "OWNER", "RX", "TX"],
  row: (item) => [
    item.sessionId === null ? or(item.tunnelId || null) : `  ${or(item.sessionId || null)}`,
    or(item.peerId || null),
    item.datapath,
    item.type,
    item.endpoints || "-",
    item.interface || "-",
    item.owner ?? "foreign",
    String(item.counters.rxPackets ?? 0),
    String(item.counters.txPackets ?? 0),
  ],
  wideHead: ["SETTINGS", "COUNTERS"],
  wideRow: (item) => [item.settings.join(" ") || "-", nonZero(item.counters)],
  trouble: () => [],
  none: "No L2TP tunnels on this node.",
};

/** Renders findings as paragraphs, because they are sentences. */
export function renderFindings(examination: Examination): string {
  const { findings, tunnels, sessions, seconds, rxPackets, txPackets } = examination;
  const counted = `${count(tunnels, "tunnel")}, ${count(sessions, "session")}; in ${seconds} s ${count(rxPackets, "frame")} received, ${txPackets} sent`;
  const checked = `${counted}${captureOf(examination)}`;
  if (findings.length === 0) return `Nothing wrong found: checked ${checked}.`;
  const lines = findings.map(
    ({ severity, object, finding, remedy }) =>
      `${severity.toUpperCase()}  ${object}: ${finding}\n       → ${remedy}`,
  );
  return [...lines, `Checked ${checked}.`].join("\n");
}

/** Returns how much was captured. Without a capture, some faults in the kernel datapath cannot be detected. */
function captureOf({ captured: { tunnels, datagrams, problem }, ...all }: Examination): string {
  if (problem !== null) return `; datagrams were not captured (${problem})`;
  if (tunnels === 0) return "";
  const of = tunnels === all.tunnels ? "" : ` of ${count(tunnels, "tunnel")}`;
  return `; ${count(datagrams, "datagram")}${of} captured`;
}

const count = (number: number, what: string): string =>
  `${number} ${what}${number === 1 ? "" : "s"}`;
