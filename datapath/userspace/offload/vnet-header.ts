/**
 * The header in front of a frame that is read from or written to a device: struct virtio_net_hdr
 * (include/uapi/linux/virtio_net.h), in the machine's byte order.
 *
 *     flags (1) | gso_type (1) | hdr_len (2) | gso_size (2) | csum_start (2) | csum_offset (2)
 */
export const VNET_HEADER_BYTES = 10;

/** The checksum from csum_start on is partial: its field holds the pseudo-header's sum. */
export const NEEDS_CHECKSUM = 1;

export const GsoType = {
  None: 0,
  TcpIpv4: 1,
  TcpIpv6: 4,
  /** Both IP versions; each segment becomes a datagram. */
  Udp: 5,
} as const;
export type GsoType = (typeof GsoType)[keyof typeof GsoType];

/** Set with a TCP type if the first segment has CWR (RFC 3168). No other segment has it in any case. */
export const GSO_ECN = 0x80;

/** Offsets of the fields. */
export const VNET = {
  flags: 0,
  gsoType: 1,
  headerBytes: 2,
  gsoSize: 4,
  checksumStart: 6,
  checksumOffset: 8,
} as const;
