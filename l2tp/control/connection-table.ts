/**
 * The state table of a control connection (RFC 3931, 7.2). The RFC's rows about tie breakers concern two connections:
 * peering.ts ends one of them.
 */
import { StateTable } from "./state-table.ts";

export type ConnectionState = "idle" | "wait-ctl-reply" | "wait-ctl-conn" | "established";

export type ConnectionEvent =
  | "local open"
  | "administrative close"
  | "SCCRQ, acceptable"
  | "SCCRQ, not acceptable"
  | "SCCRP, acceptable"
  | "SCCRP, not acceptable"
  | "SCCCN, acceptable"
  | "SCCCN, not acceptable"
  | "StopCCN";

export type ConnectionAction =
  | "send SCCRQ"
  | "send SCCRP"
  | "send SCCCN"
  | "send StopCCN"
  | "open sessions"
  | "clean up";

export const CONNECTION_TABLE = new StateTable<ConnectionState, ConnectionEvent, ConnectionAction>([
  ["idle", "local open", ["send SCCRQ"], "wait-ctl-reply"],
  ["idle", "SCCRQ, acceptable", ["send SCCRP"], "wait-ctl-conn"],
  ["idle", "SCCRQ, not acceptable", ["send StopCCN", "clean up"], "idle"],
  ["idle", ["SCCRP, acceptable", "SCCRP, not acceptable"], ["send StopCCN", "clean up"], "idle"],
  ["idle", ["SCCCN, acceptable", "SCCCN, not acceptable"], ["send StopCCN", "clean up"], "idle"],

  ["wait-ctl-reply", "SCCRP, acceptable", ["send SCCCN", "open sessions"], "established"],
  ["wait-ctl-reply", "SCCRP, not acceptable", ["send StopCCN", "clean up"], "idle"],
  [
    "wait-ctl-reply",
    ["SCCCN, acceptable", "SCCCN, not acceptable"],
    ["send StopCCN", "clean up"],
    "idle",
  ],

  ["wait-ctl-conn", "SCCCN, acceptable", ["open sessions"], "established"],
  ["wait-ctl-conn", "SCCCN, not acceptable", ["send StopCCN", "clean up"], "idle"],
  [
    "wait-ctl-conn",
    ["SCCRQ, acceptable", "SCCRQ, not acceptable", "SCCRP, acceptable", "SCCRP, not acceptable"],
    ["send StopCCN", "clean up"],
    "idle",
  ],

  [
    "established",
    [
      "SCCRQ, acceptable",
      "SCCRQ, not acceptable",
      "SCCRP, acceptable",
      "SCCRP, not acceptable",
      "SCCCN, acceptable",
      "SCCCN, not acceptable",
    ],
    ["send StopCCN", "clean up"],
    "idle",
  ],
  // The RFC has this row for the established state only; a close before that also sends a StopCCN.
  [
    ["wait-ctl-reply", "wait-ctl-conn", "established"],
    "administrative close",
    ["send StopCCN", "clean up"],
    "idle",
  ],
  [["idle", "wait-ctl-reply", "wait-ctl-conn", "established"], "StopCCN", ["clean up"], "idle"],
]);
