/** Messages to receive, each into its own slot. */
import { type Arena, FRAME_CAPACITY, FrameSlots } from "./arena.ts";
import { IoVectors, MessageVectors } from "./vectors.ts";

const RECEIVE_MESSAGES = 64;

export class ReceiveBatch {
  readonly messages: MessageVectors;
  readonly slots: FrameSlots;

  static readonly BYTES = FrameSlots.bytes(RECEIVE_MESSAGES);

  /** @param base address of ReceiveBatch.BYTES in the arena */
  constructor(arena: Arena, base: number) {
    this.slots = new FrameSlots(base);
    const vectors = new IoVectors(arena, RECEIVE_MESSAGES);
    this.messages = new MessageVectors(vectors, RECEIVE_MESSAGES);
    for (let slot = 0; slot < RECEIVE_MESSAGES; slot++) {
      vectors.set(slot, this.slots.at(slot), FRAME_CAPACITY);
      this.messages.setPieces(slot, slot, 1);
    }
    this.messages.expect(RECEIVE_MESSAGES);
  }
}
