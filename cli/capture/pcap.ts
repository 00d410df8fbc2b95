/**
 * Reads the packets of a capture file: pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng), as tcpdump
 * and Wireshark write them. The npm packages for these formats are not maintained.
 */

/** A packet of the capture. */
export interface CapturedPacket {
  /** Seconds since 1970. */
  readonly seconds: number;
  /** LINKTYPE_*. */
  readonly linkType: number;
  readonly octets: Uint8Array<ArrayBuffer>;
}

/** The file is not a capture, or is truncated or corrupt. */
export class CaptureError extends Error {
  override readonly name = "CaptureError";
}

const PCAP = { headerBytes: 24, recordBytes: 16, micro: 0xa1b2c3d4, nano: 0xa1b23c4d } as const;
const BLOCK = { section: 0x0a0d0d0a, interface: 1, simple: 3, enhanced: 6 } as const;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const OPTION_TIMESTAMP_RESOLUTION = 9;

/** Yields the packets of a capture file. @throws CaptureError */
export function* readCapture(file: Uint8Array<ArrayBuffer>): Generator<CapturedPacket> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < 12) throw new CaptureError("not a capture file: too short");
  const magic = view.getUint32(0, true);
  if (magic === BLOCK.section) return yield* readPcapng(file, view);
  for (const littleEndian of [true, false]) {
    const order = view.getUint32(0, littleEndian);
    if (order === PCAP.micro || order === PCAP.nano) {
      return yield* readPcap(file, view, littleEndian, order === PCAP.nano ? 1e-9 : 1e-6);
    }
  }
  throw new CaptureError("not a capture file: neither pcap nor pcapng");
}

function* readPcap(
  file: Uint8Array<ArrayBuffer>,
  view: DataView,
  littleEndian: boolean,
  unit: number,
): Generator<CapturedPacket> {
  if (file.length < PCAP.headerBytes) throw new CaptureError("file header truncated");
  const linkType = view.getUint32(20, littleEndian) & 0xffff;
  for (let at = PCAP.headerBytes; at < file.length; ) {
    if (file.length - at < PCAP.recordBytes) throw truncated(at);
    const seconds = view.getUint32(at, littleEndian) + view.getUint32(at + 4, littleEndian) * unit;
    const length = view.getUint32(at + 8, littleEndian);
    at += PCAP.recordBytes;
    if (length > file.length - at) throw truncated(at);
    yield { seconds, linkType, octets: file.subarray(at, at + length) };
    at += length;
  }
}

interface Interface {
  readonly linkType: number;
  /** Seconds per timestamp unit. */
  readonly unit: number;
}

function* readPcapng(file: Uint8Array<ArrayBuffer>, view: DataView): Generator<CapturedPacket> {
  let littleEndian = true;
  let interfaces: Interface[] = [];
  for (let at = 0; at < file.length; ) {
    if (file.length - at < 12) throw truncated(at);
    const isSection = view.getUint32(at, true) === BLOCK.section;
    if (isSection) {
      littleEndian = view.getUint32(at + 8, true) === BYTE_ORDER_MAGIC;
      interfaces = [];
    }
    const type = view.getUint32(at, littleEndian);
    const length = view.getUint32(at + 4, littleEndian);
    if (length < 12 || length > file.length - at) throw truncated(at);
    const body = { view, littleEndian, at: at + 8, end: at + length - 4 };
    if (type === BLOCK.interface) interfaces.push(readInterface(body));
    else if (type === BLOCK.enhanced || type === BLOCK.simple) {
      yield readPacket(file, body, type === BLOCK.simple, interfaces);
    }
    at += length;
  }
}

interface Body {
  readonly view: DataView;
  readonly littleEndian: boolean;
  readonly at: number;
  readonly end: number;
}

function readInterface({ view, littleEndian, at, end }: Body): Interface {
  if (end - at < 8) throw truncated(at);
  let unit = 1e-6;
  for (let option = at + 8; option + 4 <= end; ) {
    const code = view.getUint16(option, littleEndian);
    const length = view.getUint16(option + 2, littleEndian);
    if (code === OPTION_TIMESTAMP_RESOLUTION && option + 4 < end) {
      const resolution = view.getUint8(option + 4);
      unit = (resolution & 0x80) === 0 ? 10 ** -resolution : 2 ** -(resolution & 0x7f);
    }
    option += 4 + Math.ceil(length / 4) * 4;
  }
  return { linkType: view.getUint16(at, littleEndian), unit };
}

function readPacket(
  file: Uint8Array<ArrayBuffer>,
  { view, littleEndian, at, end }: Body,
  isSimple: boolean,
  interfaces: readonly Interface[],
): CapturedPacket {
  const headBytes = isSimple ? 4 : 20;
  if (end - at < headBytes) throw truncated(at);
  const known = interfaces[isSimple ? 0 : view.getUint32(at, littleEndian)];
  if (known === undefined) throw new CaptureError(`packet of an unknown interface at byte ${at}`);
  const { linkType, unit } = known;
  if (isSimple) {
    const length = Math.min(view.getUint32(at, littleEndian), end - at - headBytes);
    return { seconds: 0, linkType, octets: file.subarray(at + 4, at + 4 + length) };
  }
  const ticks =
    view.getUint32(at + 4, littleEndian) * 2 ** 32 + view.getUint32(at + 8, littleEndian);
  const length = view.getUint32(at + 12, littleEndian);
  if (length > end - at - headBytes) throw truncated(at);
  return { seconds: ticks * unit, linkType, octets: file.subarray(at + 20, at + 20 + length) };
}

function truncated(at: number): CaptureError {
  return new CaptureError(`truncated or corrupt at byte ${at}`);
}
