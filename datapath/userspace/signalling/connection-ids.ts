/** Control connection IDs by which an endpoint hears messages. */
import type { LocalEndpoint } from "../packet/session.ts";

export interface ConnectionIds {
  /** A connection with the ID begins. False: the ID is in use on the node, and another is to be drawn. */
  take(endpoint: LocalEndpoint, connectionId: number): boolean;
  /** The connection is over, or has begun without being taken. */
  release(endpoint: LocalEndpoint, connectionId: number): void;
}

/** An endpoint whose socket hears every ID. */
export const ALL_IDS: ConnectionIds = { take: () => true, release() {} };
