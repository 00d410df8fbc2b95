/** The control messages of RFC 3931 (3.1 and section 6). */

export const MESSAGE_TYPES = {
  SCCRQ: 1,
  SCCRP: 2,
  SCCCN: 3,
  StopCCN: 4,
  HELLO: 6,
  OCRQ: 7,
  OCRP: 8,
  OCCN: 9,
  ICRQ: 10,
  ICRP: 11,
  ICCN: 12,
  CDN: 14,
  WEN: 15,
  SLI: 16,
  ACK: 20,
} as const;

/** The short name of a message type. */
export type MessageType = keyof typeof MESSAGE_TYPES;

const NAMES = new Map(
  Object.entries(MESSAGE_TYPES).map(([name, number]) => [number as number, name as MessageType]),
);

/** Returns the short name of a message type; undefined: the type is unknown. */
export function messageTypeOf(number: number): MessageType | undefined {
  return NAMES.get(number);
}

/** Messages of a session (6.6 to 6.14). All others belong to the control connection. */
const SESSION_MESSAGES: ReadonlySet<MessageType> = new Set([
  "OCRQ",
  "OCRP",
  "OCCN",
  "ICRQ",
  "ICRP",
  "ICCN",
  "CDN",
  "WEN",
  "SLI",
]);

/** True for messages about one session; the others are about the control connection. */
export function isOfSession(type: MessageType): boolean {
  return SESSION_MESSAGES.has(type);
}
