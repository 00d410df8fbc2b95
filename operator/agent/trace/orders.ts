/**
 * Decides the fate of received frames: applies the datapath's rule to the captured sequence numbers. The packet path
 * is not involved.
 */
import { traitsOf } from "../../../datapath/registry/datapaths.ts";
import type { OrderDecision, OrderWitness } from "../../../l2tp/order-witness.ts";
import type { Session } from "../../../model/model.ts";
import { pseudowireOf } from "../../../model/pseudowires/index.ts";
import type { TracedDecision } from "../../trace-protocol.ts";
import type { ReadFrame } from "./frames.ts";

interface Watched {
  /** The session's settings; another key needs a new witness. */
  readonly key: string;
  readonly witness: OrderWitness | null;
}

export interface LabelledDecision {
  readonly shown: TracedDecision;
  /** Its name in the summary of a second. */
  readonly label: string;
}

export class SessionOrders {
  readonly #watched = new Map<string, Watched>();

  /** Returns the decisions that the frame causes. @param datapath name of the datapath of the session */
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

  /** Returns the decisions on held frames up to now; `take` must have seen all earlier frames. */
  expire(seconds: number): LabelledDecision[] {
    return Array.from(this.#watched).flatMap(([key, { witness }]) =>
      (witness?.expire(milliseconds(seconds)) ?? []).map(inWords(key, seconds)),
    );
  }

  /** Forgets all frames so far. To be called if the capture lost frames. */
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

/** True if the receiver looks at the frame's number: it drops other frames before. */
function isForSession({ cookie, bytes }: ReadFrame["shown"], session: Session): boolean {
  const isRight = cookie === "matches" || cookie === "none";
  return isRight && bytes >= pseudowireOf(session).minFrameBytes;
}

const milliseconds = (seconds: number) => seconds * 1000;

/** The label of frames in order. */
export const DELIVERED = "delivered";

const LABELS: Readonly<Record<OrderDecision["what"], string>> = {
  delivered: DELIVERED,
  held: "held",
  released: "delivered after being held",
  dropped: "dropped",
  restart: "restarted counts",
  skipped: "gaps",
};

const WORDS: Readonly<Record<OrderDecision["what"], (words: string) => string>> = {
  delivered: () => "delivered",
  held: () => "held: an earlier number is missing",
  released: () => "delivered after being held",
  dropped: (words) => `dropped: ${words}`,
  restart: () => "accepted: the sender restarted its count",
  skipped: (count) =>
    `${count} earlier ${count === "1" ? "number" : "numbers"} did not arrive in time`,
};

function unnumbered(session: string, seconds: number): LabelledDecision {
  const decision = "dropped: no sequence number";
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
