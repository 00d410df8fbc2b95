/** What is written on our links (ifalias), so that they are known again wherever they are. */

export type LinkKind =
  /** A session's device. */
  | "pseudowire"
  /** A node bridge that joins a pseudowire with pods. */
  | "bridge"
  /** The node's end of a veth pair, in the bridge. */
  | "port"
  /** The pod's end of it. */
  | "pod";

/** The ids that links of each kind have: unique on the node. */
export const linkId = {
  pseudowire: (sessionKey: string) => `l2tp:session:${sessionKey}`,
  bridge: (sessionKey: string) => `l2tp:bridge:${sessionKey}`,
  port: (attachment: string) => `l2tp:port:${attachment}`,
  pod: (attachment: string) => `l2tp:pod:${attachment}`,
} as const;

/** The label of a session's device: its id, and by which session id the data plane knows it. */
export function pseudowireLabel(sessionKey: string, sessionId: number): string {
  return `${linkId.pseudowire(sessionKey)} ${sessionId}`;
}

export interface LinkLabel {
  readonly id: string;
  readonly kind: LinkKind;
  /** Of the session or of the attachment. */
  readonly key: string;
  /** Of a pseudowire. */
  readonly sessionId: number | null;
}

/** What a label says, or undefined where it is not one of ours. */
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
