/** A frame for a device: what is to be said of it (virtio_net_hdr), and the pieces that it is made of. */
import { type Coalescer, MAX_COALESCED } from "../offload/coalesce.ts";
import { NEEDS_CHECKSUM, VNET, VNET_HEADER_BYTES } from "../offload/vnet-header.ts";
import { createMemory } from "../sys/memory.ts";
import type { Arena } from "./arena.ts";
import { IoVectors } from "./vectors.ts";

export class FrameVector {
  readonly #header = createMemory(VNET_HEADER_BYTES);
  readonly #vectors: IoVectors;
  /** Pieces, the header among them. */
  count = 0;

  constructor(arena: Arena) {
    this.#vectors = new IoVectors(arena, 1 + MAX_COALESCED);
    this.#vectors.setAddress(0, this.#header.address, VNET_HEADER_BYTES);
  }

  get address(): number {
    return this.#vectors.addressOf(0, this.count);
  }

  /** A frame as it stands, of which the device is told nothing. */
  setPlain(at: number, bytes: number): void {
    this.#header.bytes.fill(0);
    this.#vectors.set(1, at, bytes);
    this.count = 2;
  }

  /** The large frame that is pending, which is finished now. */
  setCoalesced(coalescer: Coalescer): void {
    const { frames, pieceAt, pieceBytes } = coalescer;
    if (frames === 1) {
      coalescer.finish();
      return this.setPlain(pieceAt[0] as number, pieceBytes[0] as number);
    }
    const { view } = this.#header;
    view.setUint8(VNET.flags, NEEDS_CHECKSUM);
    view.setUint8(VNET.gsoType, coalescer.gsoType);
    view.setUint16(VNET.headerBytes, coalescer.headerBytes, true);
    view.setUint16(VNET.gsoSize, coalescer.segmentBytes, true);
    view.setUint16(VNET.checksumStart, coalescer.checksumStart, true);
    view.setUint16(VNET.checksumOffset, coalescer.checksumOffset, true);
    for (let i = 0; i < frames; i++) {
      this.#vectors.set(1 + i, pieceAt[i] as number, pieceBytes[i] as number);
    }
    this.count = 1 + frames;
    coalescer.finish();
  }

  /** For fakes: the header, and the frame in one piece. */
  copy(): { header: DataView; frame: Uint8Array } {
    const pieces = Array.from({ length: this.count - 1 }, (_, i) => this.#vectors.piece(1 + i));
    return { header: this.#header.view, frame: Buffer.concat(pieces) };
  }
}
