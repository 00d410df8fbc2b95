/**
 * The state tables of a session, by role and kind of call (RFC 3931, 7.3 and 7.4). The winner of a tie breaker refuses
 * the other request without a change of state: see sessions.ts.
 */
import { StateTable } from "./state-table.ts";

export type SessionRole = "ICRQ sender" | "ICRQ recipient" | "OCRQ sender" | "OCRQ recipient";

export type SessionPhase =
  | "idle"
  | "wait-control-conn"
  | "wait-reply"
  | "wait-connect"
  | "wait-cs-answer"
  | "established";

export type SessionEvent =
  | "local open"
  | "local close"
  | "control connection open"
  | "call placed"
  | "call failed"
  | "request, acceptable"
  | "request, not acceptable"
  | "request, lose tie breaker"
  | "reply, acceptable"
  | "reply, not acceptable"
  | "connected, acceptable"
  | "connected, not acceptable"
  | "CDN";

export type SessionAction =
  | "open control connection"
  | "send request"
  | "send reply"
  | "send connected"
  | "send CDN"
  | "place call"
  | "become recipient"
  | "start data"
  | "clean up";

type Table = StateTable<SessionPhase, SessionEvent, SessionAction>;

const REQUESTS = ["request, acceptable", "request, not acceptable"] as const;
const REPLIES = ["reply, acceptable", "reply, not acceptable"] as const;
const CONNECTEDS = ["connected, acceptable", "connected, not acceptable"] as const;
const REFUSE = ["send CDN", "clean up"] as const;

/** 7.3.1. */
const ICRQ_SENDER: Table = new StateTable([
  ["idle", "local open", ["open control connection"], "wait-control-conn"],
  ["idle", [...CONNECTEDS, ...REPLIES, "CDN"], ["clean up"], "idle"],
  ["wait-control-conn", "local close", ["clean up"], "idle"],
  ["wait-control-conn", "control connection open", ["send request"], "wait-reply"],
  ["wait-reply", "reply, acceptable", ["send connected", "start data"], "established"],
  ["wait-reply", "reply, not acceptable", REFUSE, "idle"],
  ["wait-reply", "request, lose tie breaker", ["become recipient"], "idle"],
  ["wait-reply", ["CDN", ...CONNECTEDS], ["clean up"], "idle"],
  ["wait-reply", "local close", REFUSE, "idle"],
  ["established", "CDN", ["clean up"], "idle"],
  ["established", [...REQUESTS, ...REPLIES, ...CONNECTEDS], REFUSE, "idle"],
  ["established", "local close", REFUSE, "idle"],
]);

/** 7.3.2. */
const ICRQ_RECIPIENT: Table = new StateTable([
  ["idle", "request, acceptable", ["send reply"], "wait-connect"],
  ["idle", "request, not acceptable", REFUSE, "idle"],
  ["idle", [...REPLIES], REFUSE, "idle"],
  ["idle", [...CONNECTEDS], ["clean up"], "idle"],
  ["wait-connect", "connected, acceptable", ["start data"], "established"],
  ["wait-connect", "connected, not acceptable", REFUSE, "idle"],
  ["wait-connect", [...REQUESTS, ...REPLIES], REFUSE, "idle"],
  [["idle", "wait-connect", "established"], "CDN", ["clean up"], "idle"],
  [["wait-connect", "established"], "local close", REFUSE, "idle"],
  ["established", [...REQUESTS, ...REPLIES, ...CONNECTEDS], REFUSE, "idle"],
]);

/** 7.4.1. */
const OCRQ_SENDER: Table = new StateTable([
  ["idle", "local open", ["open control connection"], "wait-control-conn"],
  ["idle", [...CONNECTEDS, ...REPLIES], ["clean up"], "idle"],
  ["wait-control-conn", "control connection open", ["send request"], "wait-reply"],
  ["wait-reply", "reply, acceptable", [], "wait-connect"],
  ["wait-reply", "reply, not acceptable", REFUSE, "idle"],
  ["wait-reply", [...CONNECTEDS], REFUSE, "idle"],
  ["wait-reply", "request, lose tie breaker", ["become recipient"], "idle"],
  ["wait-connect", "connected, acceptable", ["start data"], "established"],
  ["wait-connect", "connected, not acceptable", REFUSE, "idle"],
  ["wait-connect", [...REQUESTS, ...REPLIES], REFUSE, "idle"],
  [["idle", "wait-reply", "wait-connect", "established"], "CDN", ["clean up"], "idle"],
  ["established", [...REQUESTS, ...REPLIES, ...CONNECTEDS], REFUSE, "idle"],
  [["wait-reply", "wait-connect", "established"], "local close", REFUSE, "idle"],
  ["wait-control-conn", "local close", ["clean up"], "idle"],
]);

/** 7.4.2. */
const OCRQ_RECIPIENT: Table = new StateTable([
  ["idle", "request, acceptable", ["send reply", "place call"], "wait-cs-answer"],
  ["idle", "request, not acceptable", REFUSE, "idle"],
  ["idle", [...REPLIES], REFUSE, "idle"],
  ["idle", [...CONNECTEDS, "CDN"], ["clean up"], "idle"],
  ["wait-cs-answer", "call placed", ["send connected", "start data"], "established"],
  ["wait-cs-answer", "call failed", REFUSE, "idle"],
  ["wait-cs-answer", [...REQUESTS, ...REPLIES, ...CONNECTEDS], REFUSE, "idle"],
  ["established", [...REQUESTS, ...REPLIES, ...CONNECTEDS], REFUSE, "idle"],
  [["wait-cs-answer", "established"], "CDN", ["clean up"], "idle"],
  [["wait-cs-answer", "established"], "local close", REFUSE, "idle"],
]);

export const SESSION_TABLES: Readonly<Record<SessionRole, Table>> = {
  "ICRQ sender": ICRQ_SENDER,
  "ICRQ recipient": ICRQ_RECIPIENT,
  "OCRQ sender": OCRQ_SENDER,
  "OCRQ recipient": OCRQ_RECIPIENT,
};
