/**
 * Tells the fate of received frames by their sequence numbers: the datapath's own rule, applied to the captured numbers.
 * Nothing on the packet path is asked.
 */
import { traitsOf } from "../../../datapath/registry/datapaths.ts";
import type { OrderDecision, OrderWitness } from "../../../l2tp/order-witness.ts";
import type { Session } from "../../../model/model.ts";
import { pseudowireOf } from "../../../model/pseudowires/index.ts";
import type { TracedDecision } from "../../trace-protocol.ts";
import type { ReadFrame } from "./frames.ts";

interface Watched {
  /** A change of it needs a new witness. */
  readonly key: string;
  readonly witness: OrderWitness | null;
}

export interface LabelledDecision {
  readonly shown: TracedDecision;
  /** Its name in a count of many. */
  readonly label: string;
}

export class SessionOrders {
  readonly #watched = new Map<string, Watched>();

  /** @param datapath the name of the one that forwards the session's frames */
  take({ session, shown }: ReadFrame, datapath: string): LabelledDecision[] {
    if (session === null || shown.outgoing || !isForSession(shown, session)) return [];
    const { seconds, sequence } = shown;
    const { witness } = this.#of(session, datapath);
    if (sequence === null) {
      if (!session.sequencing.receive || !shown.hasSublayer) return [];
      return [unnumbered(session.key, seconds)];
    }
    const decisions = witness?.offer(sequence, milliseconds(seconds)) ?? [];
    return decisions.map(inWords(session.key, seconds));
  }

  /** The fate of held frames up to now; all earlier frames have been taken. */
  expire(seconds: number): LabelledDecision[] {
    return Array.from(this.#watched).flatMap(([key, { witness }]) =>
      (witness?.expire(milliseconds(seconds)) ?? []).map(inWords(key, seconds)),
    );
  }

  /** Frames are missing: what was concluded from those before is worth nothing any more. */
  begin(): void {
    this.#watched.clear();
  }

  #of(session: Session, datapath: string): Watched {
    const { sessionId, peerSessionId, sequencing, l2SpecificSublayer } = session;
    const key = JSON.stringify([
      datapath,
      sessionId,
      peerSessionId,
      sequencing,
      l2SpecificSublayer,
    ]);
    const known = this.#watched.get(session.key);
    if (known?.key === key) return known;
    const watched = { key, witness: traitsOf(datapath).witnessOrder(session) };
    this.#watched.set(session.key, watched);
    return watched;
  }
}

/** The receiver drops others before it looks at their numbers. */
function isForSession({ cookie, bytes }: ReadFrame["shown"], session: Session): boolean {
  const isRight = cookie === "matches" || cookie === "none";
  return isRight && bytes >= pseudowireOf(session).minFrameBytes;
}

const milliseconds = (seconds: number) => seconds * 1000;

/** The label of what is in order. */
export const DELIVERED = "delivered";

const LABELS: Readonly<Record<OrderDecision["what"], string>> = {
  delivered: DELIVERED,
  held: "held",
  released: "delivered after they were held",
  dropped: "dropped",
  restart: "changes to another count",
  skipped: "gaps",
};

const WORDS: Readonly<Record<OrderDecision["what"], (words: string) => string>> = {
  delivered: () => "delivered",
  held: () => "held, since a number before it is missing",
  released: () => "delivered, after it was held",
  dropped: (words) => `dropped: ${words}`,
  restart: () => "the sender has begun another count, which is accepted",
  skipped: (count) =>
    `${count} ${count === "1" ? "number" : "numbers"} before it did not come in time`,
};

function unnumbered(session: string, seconds: number): LabelledDecision {
  const decision = "dropped: it has no sequence number";
  return {
    shown: { shows: "sequence", seconds, session, sequence: null, decision },
    label: LABELS.dropped,
  };
}

function inWords(session: string, seconds: number) {
  return ({ sequence, what, words = "" }: OrderDecision): LabelledDecision => ({
    shown: { shows: "sequence", seconds, session, sequence, decision: WORDS[what](words) },
    label: LABELS[what],
  });
}
