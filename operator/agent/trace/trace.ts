/** A running trace of one tunnel or session: turns captured packets into items. */
import { setTimeout as pause } from "node:timers/promises";
import type { Listing } from "../../../datapath/datapath.ts";
import type { CapturedIpPacket } from "../../../linux/packet-capture.ts";
import { parseIpPacket } from "../../../net/ip-packet.ts";
import type { Outlet } from "../../../rpc/stream.ts";
import type { TracedDecision, TraceItem, TraceKind, TraceRequest } from "../../trace-protocol.ts";
import { type Addressed, addressedBy } from "./addressed.ts";
import { TunnelCaptures } from "./captures.ts";
import { readFrames } from "./frames.ts";
import { LineBudget } from "./line-budget.ts";
import { MessageReader } from "./messages.ts";
import { DELIVERED, type LabelledDecision, SessionOrders } from "./orders.ts";
import { TraceRefused } from "./refused.ts";
import { Subject, type TracedNode } from "./subject.ts";

/** Interval of reading packets. */
const TICK_MS = 100;
const TICKS_PER_SECOND = 1000 / TICK_MS;
/** Maximum number of packets of a remote that one tick reads. */
const MESSAGES_PER_TICK = 64;
const FRAMES_PER_TICK = 256;
/** Maximum number of lines a second: a few more than people can follow. */
const LINES = { control: 50, data: 50, notable: 40, delivered: 10 } as const;
/** Maximum number of simultaneous traces on a node. */
const MOST = 4;

/** Label of the tunnel's packets that the capture lost. */
const NOT_CAPTURED = "packets not captured";
let running = 0;

/**
 * Captures from now on, and sends items until the client disconnects or the object is removed.
 * @returns a promise of the end; the packet sockets are open when this returns
 * @throws TraceRefused; SystemError EPERM without CAP_NET_RAW
 */
export function startTrace(
  { target, kinds }: Omit<TraceRequest, "op">,
  node: TracedNode,
  outlet: Outlet,
): Promise<null> {
  if (running >= MOST) {
    const message = `${MOST} traces already run on node ${node.nodeName}`;
    throw new TraceRefused("TooManyTraces", message, "end one of them");
  }
  const subject = new Subject(target, node);
  const isSilent = subject.tunnel.control === undefined;
  const shown = kinds.length > 0 ? kinds : [isSilent ? ("data" as const) : ("control" as const)];
  const run = new Trace(subject, new Set(shown), outlet);
  try {
    run.begin();
  } catch (error) {
    run.close();
    throw error;
  }
  return end(run);
}

async function end(run: Trace): Promise<null> {
  running++;
  try {
    await run.untilEnd();
  } finally {
    run.close();
    running--;
  }
  return null;
}

class Trace {
  readonly #subject: Subject;
  readonly #kinds: ReadonlySet<TraceKind>;
  readonly #outlet: Outlet;
  readonly #messages = new MessageReader();
  readonly #orders = new SessionOrders();
  readonly #captures: { readonly control: TunnelCaptures; readonly data: TunnelCaptures };
  readonly #budgets = {
    control: new LineBudget(LINES.control),
    data: new LineBudget(LINES.data),
    sequence: {
      notable: new LineBudget(LINES.notable),
      delivered: new LineBudget(LINES.delivered),
    },
  };
  /** Dropped packets at the end of the last second. */
  #dropped = { control: 0, data: 0 };
  #listing: Listing | null = null;
  /** A frame with an unknown session ID was captured: its session may just have been negotiated. */
  #isStale = false;

  constructor(subject: Subject, kinds: ReadonlySet<TraceKind>, outlet: Outlet) {
    this.#subject = subject;
    this.#kinds = kinds;
    this.#outlet = outlet;
    this.#captures = { control: new TunnelCaptures("control"), data: new TunnelCaptures("data") };
  }

  close(): void {
    this.#captures.control.close();
    this.#captures.data.close();
  }

  /** @throws SystemError */
  begin(): void {
    const { object } = this.#subject;
    this.#follow();
    this.#outlet.send({ shows: "begun", object, kinds: [...this.#kinds] } satisfies TraceItem);
  }

  async untilEnd(): Promise<void> {
    const { closed } = this.#outlet;
    await this.#counters();
    for (let tick = 1; !closed.aborted; tick++) {
      await pause(TICK_MS, undefined, { signal: closed }).catch(() => {});
      if (closed.aborted) return;
      const items = this.#look();
      if (!this.#subject.refresh()) {
        this.#send([...items, { shows: "ended", why: this.#subject.whyGone() }]);
        return;
      }
      this.#follow();
      const isTurn = tick % TICKS_PER_SECOND === 0;
      this.#send(isTurn ? [...items, ...(await this.#endSecond())] : items);
    }
  }

  get #needsFrames(): boolean {
    return this.#kinds.has("data") || this.#kinds.has("sequence");
  }

  /** The tunnel's addresses may have changed. */
  #follow(): void {
    const { tunnel } = this.#subject;
    if (this.#kinds.has("control")) this.#captures.control.follow(tunnel);
    if (this.#needsFrames) this.#captures.data.follow(tunnel);
  }

  #send(items: readonly TraceItem[]): void {
    for (const item of items) {
      if (this.#outlet.send(item)) continue;
      if ("seconds" in item) this.#lost(item.shows);
    }
  }

  #lost(kind: TraceKind): void {
    if (kind === "sequence") this.#budgets.sequence.notable.leaveOut(1);
    else this.#budgets[kind].leaveOut(1);
  }

  /** Returns the items of all packets since the last call, in the order of arrival. */
  #look(): TraceItem[] {
    const now = Date.now() / 1000;
    const messages = this.#read("control", MESSAGES_PER_TICK);
    const packets = this.#read("data", FRAMES_PER_TICK);
    const items = [
      ...messages.flatMap((packet) => this.#message(packet)),
      ...packets.flatMap((packet) => this.#frames(packet)),
    ];
    // Only if all packets were read: an unread frame may be the one that a held frame waits for.
    const isAll = packets.length < FRAMES_PER_TICK;
    const expired = isAll ? this.#bounded(this.#orders.expire(now)) : [];
    return [...items.toSorted((one, other) => secondsOf(one) - secondsOf(other)), ...expired];
  }

  #read(kind: "control" | "data", max: number): CapturedIpPacket[] {
    return this.#captures[kind].read(max);
  }

  #message(packet: CapturedIpPacket): TraceItem[] {
    const parsed = this.#parse(packet);
    if (parsed === null) return [];
    const message = this.#messages.read(packet, parsed.ip, parsed.addressed, this.#subject);
    return message !== null && this.#budgets.control.spend() ? [message] : [];
  }

  #frames(packet: CapturedIpPacket): TraceItem[] {
    const parsed = this.#parse(packet);
    if (parsed === null) return [];
    const frames = readFrames(packet, parsed.ip, parsed.addressed, this.#subject);
    const { datapath } = this.#subject.tunnel;
    return frames.flatMap((frame): TraceItem[] => {
      if (frame.session === null) this.#isStale = true;
      const isShown = this.#kinds.has("data") && this.#budgets.data.spend();
      const header = isShown ? [frame.shown] : [];
      if (!this.#kinds.has("sequence")) return header;
      return [...header, ...this.#bounded(this.#orders.take(frame, datapath))];
    });
  }

  #parse(packet: CapturedIpPacket) {
    const ip = parseIpPacket(packet.octets);
    const addressed: Addressed | null =
      ip === null ? null : addressedBy(packet, ip, this.#subject.tunnel);
    return ip === null || addressed === null ? null : { ip, addressed };
  }

  /** Ordinary decisions do not displace notable ones. */
  #bounded(decisions: readonly LabelledDecision[]): TracedDecision[] {
    const { notable, delivered } = this.#budgets.sequence;
    return decisions.flatMap(({ shown, label }) =>
      (label === DELIVERED ? delivered : notable).spend(label) ? [shown] : [],
    );
  }

  /** Returns the summary of omitted lines and the datapath's counters of the second. */
  async #endSecond(): Promise<TraceItem[]> {
    const { control, data, sequence } = this.#budgets;
    const missed = this.#missed();
    control.leaveOut(missed.control, NOT_CAPTURED);
    data.leaveOut(missed.data, NOT_CAPTURED);
    if (missed.data > 0) this.#orders.begin();
    const rest: TraceItem[] = [
      ...restOf("control", [control]),
      ...(this.#kinds.has("data") ? restOf("data", [data]) : []),
      ...restOf("sequence", [sequence.delivered, sequence.notable]),
    ];
    if (this.#kinds.has("sequence") && missed.data > 0) rest.push(missedOrder(missed.data));
    return [...rest, ...(await this.#counters())];
  }

  /** Returns the numbers of packets that the captures dropped in the last second. */
  #missed(): { readonly control: number; readonly data: number } {
    const { control, data } = this.#captures;
    const dropped = { control: control.dropped, data: data.dropped };
    const before = this.#dropped;
    this.#dropped = dropped;
    return { control: dropped.control - before.control, data: dropped.data - before.data };
  }

  async #counters(): Promise<TraceItem[]> {
    const isNeeded = this.#kinds.has("sequence") || this.#isStale;
    if (!isNeeded) return [];
    this.#isStale = false;
    const before = this.#listing;
    const listing = await this.#subject.look();
    if (!this.#kinds.has("sequence")) return [];
    this.#listing = listing;
    if (before === null) return [];
    return this.#subject.sessions
      .filter(({ key }) => this.#subject.session === null || key === this.#subject.session)
      .flatMap(({ key }) => counted(key, before, listing));
  }
}

const secondsOf = (item: TraceItem): number => ("seconds" in item ? item.seconds : 0);

function restOf(kind: TraceKind, budgets: readonly LineBudget[]): TraceItem[] {
  const rest = budgets.flatMap((budget) => [...budget.turn()]);
  const count = rest.reduce((sum, [, number]) => sum + number, 0);
  if (count === 0) return [];
  const words = rest.flatMap(([what, number]) => (what === "" ? [] : [`${number} ${what}`]));
  return [{ shows: "rest", of: kind, count, words: words.join("; ") }];
}

function missedOrder(count: number): TraceItem {
  const words = `${NOT_CAPTURED}; decisions start over with the next number`;
  return { shows: "rest", of: "sequence", count, words };
}

/** Returns the growth of the datapath's sequence counters. */
function counted(key: string, before: Listing, after: Listing): TraceItem[] {
  const numbers = ({ sessions }: Listing) => {
    const state = sessions.find(({ session }) => session.key === key);
    const { rxSeqDiscards = 0, rxOosPackets = 0 } = state?.counters ?? {};
    return { rxSeqDiscards, rxOosPackets, resyncs: state?.resyncs ?? 0 };
  };
  const earlier = numbers(before);
  const grown = Object.entries(numbers(after)).flatMap(([name, value]) => {
    const by = value - earlier[name as keyof typeof earlier];
    return by > 0 ? [[name, by] as const] : [];
  });
  if (grown.length === 0) return [];
  return [{ shows: "counters", session: key, counted: Object.fromEntries(grown) }];
}
