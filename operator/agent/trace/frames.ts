/** Reads the headers of frames in captured packets. Pure. */

import { type DataHeader, describeDatagram } from "../../../l2tp/describe-data.ts";
import { datagramsOf } from "../../../l2tp/joined.ts";
import type { CapturedIpPacket } from "../../../linux/packet-capture.ts";
import type { Session } from "../../../model/model.ts";
import { pseudowireOf } from "../../../model/pseudowires/index.ts";
import { describeEthernet } from "../../../net/ethernet.ts";
import { UDP_HEADER_BYTES } from "../../../net/headers.ts";
import type { IpPacket } from "../../../net/ip-packet.ts";
import { describeIp } from "../../../net/ip-words.ts";
import type { TracedFrame } from "../../trace-protocol.ts";
import type { Addressed } from "./addressed.ts";
import type { Subject } from "./subject.ts";

export interface ReadFrame {
  readonly shown: TracedFrame;
  /** null: the tunnel has no session with the id. */
  readonly session: Session | null;
}

/** Returns the traced frames of a packet. A packet can hold many, because the kernel joins datagrams. */
export function readFrames(
  packet: CapturedIpPacket,
  ip: IpPacket,
  addressed: Addressed,
  subject: Subject,
): ReadFrame[] {
  const { outgoing } = packet;
  const byId = outgoing ? subject.sent : subject.received;
  const octets = packet.octets.subarray(ip.payloadAt);
  const overUdp = subject.tunnel.encapsulation === "UDP";
  const payloadBytes = overUdp ? udpPayloadBytes(packet, ip) : ip.payloadBytes;
  const bounds = overUdp
    ? datagramsOf(octets, payloadBytes, (id) => byId.has(id))
    : [{ at: 0, end: payloadBytes }];
  return bounds.flatMap(({ at, end }) => {
    const datagram = octets.subarray(at, end);
    const found = describeDatagram(datagram, overUdp, (id) => layoutOf(byId.get(id), outgoing));
    const isData = found.kind === "data" || found.kind === "short";
    // Null: the capture has cut off the session ID.
    if (!isData || found.sessionId === null) return [];
    const { sessionId } = found;
    const session = byId.get(sessionId) ?? null;
    if (!isTraced(subject, session, sessionId, outgoing)) return [];
    const bytes = end - at;
    const said =
      found.kind === "short"
        ? { ...SHORT, bytes }
        : describeFrame(datagram, found, session, outgoing, bytes);
    const flaws = ip.isFragmented ? [FRAGMENTED, ...said.flaws] : said.flaws;
    const head = { shows: "data" as const, ...addressed, sessionId, session: session?.key ?? null };
    return [{ session, shown: { ...head, ...said, flaws } }];
  });
}

/** Over UDP, the traced length is that of the whole datagram. */
const FRAGMENTED = "fragmented";
/** Offset of UDP's length field, relative to the payload (RFC 768). */
const UDP_LENGTH_AT = -4;

/** Returns the bytes of the whole datagram's payload: the first fragment has the length of the whole. */
function udpPayloadBytes({ octets }: CapturedIpPacket, ip: IpPacket): number {
  if (!ip.isFragmented) return ip.payloadBytes;
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  return Math.max(0, view.getUint16(ip.payloadAt + UDP_LENGTH_AT) - UDP_HEADER_BYTES);
}

/** Describes a datagram that ends inside the header. */
const SHORT: Omit<Described, "bytes"> = {
  cookie: "cut short",
  hasSublayer: false,
  sequence: null,
  ethernet: null,
  flaws: ["shorter than the session's header"],
};

function isTraced(
  subject: Subject,
  session: Session | null,
  sessionId: number,
  outgoing: boolean,
): boolean {
  if (subject.session !== null) return session?.key === subject.session;
  return session !== null || !subject.isElsewhere(sessionId, outgoing);
}

const cookieOf = ({ rxCookie, txCookie }: Session, outgoing: boolean) =>
  outgoing ? txCookie : rxCookie;

function layoutOf(session: Session | undefined, outgoing: boolean) {
  if (session === undefined) return null;
  const cookieBytes = cookieOf(session, outgoing).length / 2;
  return { cookieBytes, hasSublayer: session.l2SpecificSublayer === "Default" };
}

type Described = Pick<
  TracedFrame,
  "cookie" | "hasSublayer" | "sequence" | "ethernet" | "ip" | "bytes" | "flaws"
>;

function describeFrame(
  datagram: Uint8Array,
  { cookie, sublayer, sequence, frameAt }: DataHeader,
  session: Session | null,
  outgoing: boolean,
  datagramBytes: number,
): Described {
  const bytes = datagramBytes - frameAt;
  if (session === null) {
    const unknown = { cookie: "unknown", hasSublayer: false, sequence, ethernet: null } as const;
    return { ...unknown, bytes, flaws: ["no session of the tunnel has this ID"] };
  }
  const { device } = pseudowireOf(session);
  const isEthernet = device?.hasMac === true;
  const ip = device?.hasMac === false ? describeIp(datagram, frameAt) : null;
  return {
    cookie: outgoing ? compare(cookie, session.txCookie) : compareReceived(cookie, session),
    hasSublayer: sublayer !== null,
    sequence,
    ethernet: isEthernet ? describeEthernet(datagram, frameAt) : null,
    ...(ip === null ? {} : { ip }),
    bytes,
    flaws: flawsOf(datagram, frameAt, bytes, session),
  };
}

function compare(cookie: string, expected: string) {
  if (expected === "") return "none" as const;
  return cookie === expected.toLowerCase() ? ("matches" as const) : ("mismatch" as const);
}

function compareReceived(cookie: string, { rxCookie, previousRxCookie }: Session) {
  return cookie === previousRxCookie ? ("previous" as const) : compare(cookie, rxCookie);
}

function flawsOf(datagram: Uint8Array, at: number, bytes: number, session: Session): string[] {
  const { mtu, l2SpecificSublayer } = session;
  const { device, minFrameBytes, looksMisaligned } = pseudowireOf(session);
  const most = device === null ? mtu : mtu + device.headerBytes + device.spareBytes;
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  const expects = l2SpecificSublayer === "Default";
  const isWhole = datagram.length - at >= minFrameBytes;
  const isOff = isWhole && looksMisaligned?.(view, at, bytes, expects) === true;
  const isIp = [4, 6].includes((datagram[at] ?? 0) >> 4);
  const other = expects ? "no L2-specific sublayer" : "an L2-specific sublayer";
  return [
    ...(bytes < minFrameBytes ? ["too short for a frame"] : []),
    ...(bytes > most ? [`larger than the MTU ${mtu}`] : []),
    ...(isWhole && device?.hasMac === false && !isIp ? ["neither IPv4 nor IPv6"] : []),
    ...(isOff ? [`the sender seems to use ${other}`] : []),
  ];
}
