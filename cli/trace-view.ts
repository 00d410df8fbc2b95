/** Renders the items of a trace as lines of text. Pure. */
import type {
  TraceBegun,
  TracedCounters,
  TracedDecision,
  TracedFrame,
  TracedRest,
  TraceItem,
  TraceKind,
} from "../operator/trace-protocol.ts";
import { renderDatagram, time } from "./capture/decode.ts";

const KINDS: Readonly<Record<TraceKind, string>> = {
  control: "control messages",
  sequence: "decisions by sequence numbers",
  data: "frame headers",
};

/** Units in the count of omitted items. */
const UNITS: Readonly<Record<TraceKind, readonly [one: string, many: string]>> = {
  control: ["control message", "control messages"],
  sequence: ["decision", "decisions"],
  data: ["frame", "frames"],
};

const COOKIES: Readonly<Record<TracedFrame["cookie"], string>> = {
  matches: "cookie matches",
  previous: "previous cookie",
  mismatch: "COOKIE MISMATCH",
  none: "no cookie",
  unknown: "unknown session",
  "cut short": "cut short",
};

/** Renders the items of one trace. */
export class TraceView {
  readonly #target: string;

  constructor(target: string) {
    this.#target = target;
  }

  /** Returns the lines of an item, without the last line break. */
  render(item: TraceItem): string {
    switch (item.shows) {
      case "begun":
        return begun(item);
      case "control":
        return renderDatagram(item);
      case "data":
        return frame(item);
      case "sequence":
        return decision(item);
      case "counters":
        return counters(item);
      case "rest":
        return `${this.#target}: ${rest(item)}`;
      case "ended":
        return `Trace ended: ${item.why}.`;
    }
  }
}

function begun({ object, kinds }: TraceBegun): string {
  return `Tracing ${object}: ${kinds.map((kind) => KINDS[kind]).join(", ")}. Press Ctrl-C to stop.`;
}

/** Returns "12:00:00.000123 192.0.2.1:5000 > 192.0.2.2:5000 shop/lan session 128, cookie matches, …". */
function frame(item: TracedFrame): string {
  const { from, to, session, sessionId, sequence, hasSublayer, ethernet, ip, bytes, flaws } = item;
  const number = sequence === null ? "" : `, sequence ${sequence}`;
  const said = [
    `${session === null ? "" : `${session} `}session ${sessionId}`,
    COOKIES[item.cookie],
    ...(session === null || item.cookie === "cut short"
      ? []
      : [hasSublayer ? `sublayer${number}` : "no sublayer"]),
    ...(ethernet === null
      ? []
      : [`${ethernet.source} > ${ethernet.destination}, ${ethernet.type}`]),
    ...(ip === undefined ? [] : [`${ip.source} > ${ip.destination}, ${ip.protocol}`]),
    `${bytes} octets`,
  ];
  const head = `${time(item.seconds)} ${from} > ${to} ${said.join(", ")}`;
  return [head, ...flaws.map((flaw) => `! ${flaw}`)].join("\n    ");
}

function decision({ seconds, session, sequence, decision: what }: TracedDecision): string {
  const number = sequence === null ? "" : ` sequence ${sequence}`;
  return `${time(seconds)} ${session}${number}: ${what}`;
}

function counters({ session, counted }: TracedCounters): string {
  const all = Object.entries(counted).map(([name, value]) => `${name} ${value}`);
  return `${session}: datapath counters in this second: ${all.join(", ")}`;
}

function rest({ of, count, words }: TracedRest): string {
  const [one, many] = UNITS[of];
  const more = words === "" ? "" : `: ${words}`;
  return `${count} more ${count === 1 ? one : many} in this second${more}`;
}
