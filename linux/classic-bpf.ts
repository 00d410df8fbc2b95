/** Classic BPF: the filters of sockets (Documentation/networking/filter.rst, include/uapi/linux/filter.h). */
import { checked } from "./errno.ts";
import { c } from "./ffi.ts";
import { createMemory, type Memory, setWord64 } from "./memory.ts";

const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const INSTRUCTION_BYTES = 8;
/** struct sock_fprog: a length, padding, a pointer. */
const PROGRAM_BYTES = 16;
const MAX_INSTRUCTIONS = 128;
/** The maximum number of instructions that a jump skips. */
const MAX_JUMP = 255;

/** The supported instructions. A is the accumulator, X the index register. */
const CODE = {
  /** A = 32, 16 or 8 bits at an offset of the packet. */
  load32: 0x20,
  load16: 0x28,
  load8: 0x30,
  /** A = 32 or 16 bits at X and an offset. */
  load32AtX: 0x40,
  load16AtX: 0x48,
  /** A = A and a number. */
  and: 0x54,
  /** X = a number. */
  setX: 0x01,
  /** X = the length of the IPv4 header at an offset. */
  setXToIpv4Header: 0xb1,
  ifEqual: 0x15,
  /** True if A and the number have a bit in common. */
  ifAnyBit: 0x45,
  return: 0x06,
} as const;

export type ClassicCode = Exclude<keyof typeof CODE, "ifEqual" | "ifAnyBit">;

interface Instruction {
  readonly code: number;
  readonly value: number;
  readonly ifTrue: string | null;
  readonly ifFalse: string | null;
}

/** Assembles a filter from calls in the order of its instructions. Jumps name labels, and go forward only. */
export class ClassicFilter {
  readonly #instructions: Instruction[] = [];
  readonly #labels = new Map<string, number>();

  do(code: ClassicCode, value: number): this {
    return this.#add({ code: CODE[code], value, ifTrue: null, ifFalse: null });
  }

  /** @param ifTrue a label; null: the next instruction */
  jumpIf(
    condition: "ifEqual" | "ifAnyBit",
    value: number,
    ifTrue: string | null,
    ifFalse: string | null,
  ): this {
    return this.#add({ code: CODE[condition], value, ifTrue, ifFalse });
  }

  label(name: string): this {
    if (this.#labels.has(name)) throw new Error(`duplicate label ${name}`);
    this.#labels.set(name, this.#instructions.length);
    return this;
  }

  /** Returns a struct sock_filter for each instruction. @throws Error if a label is missing or too far */
  finish(): Uint8Array {
    const bytes = new Uint8Array(this.#instructions.length * INSTRUCTION_BYTES);
    const view = new DataView(bytes.buffer);
    for (const [index, { code, value, ifTrue, ifFalse }] of this.#instructions.entries()) {
      const at = index * INSTRUCTION_BYTES;
      view.setUint16(at, code, true);
      view.setUint8(at + 2, this.#distance(index, ifTrue));
      view.setUint8(at + 3, this.#distance(index, ifFalse));
      view.setUint32(at + 4, value, true);
    }
    return bytes;
  }

  #add(instruction: Instruction): this {
    this.#instructions.push(instruction);
    return this;
  }

  #distance(from: number, label: string | null): number {
    if (label === null) return 0;
    const distance = (this.#labels.get(label) ?? -1) - from - 1;
    if (distance < 0 || distance > MAX_JUMP) throw new Error(`label ${label} cannot be reached`);
    return distance;
  }
}

/** The kernel reads it during a call. Calls of one thread do not overlap. */
let memory: { readonly code: Memory; readonly program: Memory } | undefined;

/**
 * Attaches a filter to a socket, which then receives only packets for which the filter returns more than 0.
 * @throws SystemError
 */
export function attachFilter(fd: number, filter: Uint8Array): void {
  memory ??= {
    code: createMemory(MAX_INSTRUCTIONS * INSTRUCTION_BYTES),
    program: createMemory(PROGRAM_BYTES),
  };
  const { code, program } = memory;
  code.bytes.set(filter);
  program.view.setUint16(0, filter.length / INSTRUCTION_BYTES, true);
  setWord64(program.view, 8, code.address);
  const result = c.setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, program.bytes, PROGRAM_BYTES);
  checked(result, "setsockopt", "SO_ATTACH_FILTER");
}
