/** The control connection IDs whose messages an endpoint receives. */
import type { LocalEndpoint } from "../packet/session.ts";

export interface ConnectionIds {
  /** Starts receiving messages for the ID. False: the ID is in use on the node; use a different ID. */
  take(endpoint: LocalEndpoint, connectionId: number): boolean;
  /** Stops receiving messages for the ID. Does nothing if the ID was not added. */
  release(endpoint: LocalEndpoint, connectionId: number): void;
}

/** Grants every ID: for endpoints whose socket receives all of them. */
export const ALL_IDS: ConnectionIds = { take: () => true, release() {} };
