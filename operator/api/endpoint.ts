/** What manifests may leave out of a tunnel's ends. */

/** The registered port of L2TP (RFC 3931 §4.1.2.1). */
export const DEFAULT_UDP_PORT = 1701;
