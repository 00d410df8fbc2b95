/** Labels (ifalias) that identify the links of l2tp-cni in any namespace. */

export type LinkKind =
  /** A session's device. */
  | "pseudowire"
  /** A bridge on the node between a pseudowire and pods. */
  | "bridge"
  /** The node's end of a veth pair, in the bridge. */
  | "port"
  /** The pod's end of a veth pair. */
  | "pod";

/** IDs of links by kind: unique on the node. */
export const linkId = {
  pseudowire: (sessionKey: string) => `l2tp:session:${sessionKey}`,
  bridge: (sessionKey: string) => `l2tp:bridge:${sessionKey}`,
  port: (attachment: string) => `l2tp:port:${attachment}`,
  pod: (attachment: string) => `l2tp:pod:${attachment}`,
} as const;

/** Returns the label of a session's device: its ID, and its session ID in the datapath. */
export function pseudowireLabel(sessionKey: string, sessionId: number): string {
  return `${linkId.pseudowire(sessionKey)} ${sessionId}`;
}

export interface LinkLabel {
  readonly id: string;
  readonly kind: LinkKind;
  /** The key of the session or attachment. */
  readonly key: string;
  /** The session ID of a pseudowire; null for other kinds. */
  readonly sessionId: number | null;
}

/** Parses a label. Returns undefined if l2tp-cni did not write it. */
export function parseLinkLabel(label: string): LinkLabel | undefined {
  const match = /^(l2tp:(session|bridge|port|pod):([^ ]+))(?: ([1-9][0-9]{0,9}))?$/.exec(label);
  if (match === null) return undefined;
  const [, id = "", kind, key = "", sessionId] = match;
  return {
    id,
    kind: kind === "session" ? "pseudowire" : (kind as LinkKind),
    key,
    sessionId: sessionId === undefined ? null : Number(sessionId),
  };
}
