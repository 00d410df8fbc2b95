/**
 * Assembles BPF instructions (RFC 9669). A program is a sequence of calls in the order of its instructions. Jumps name
 * labels, and go forward only.
 */

/**
 * R0 is a call's result. R1 to R5 are its arguments, and undefined afterward. R6 to R9 are kept. R10 is the stack's
 * end.
 */
export const R0 = 0;
export const R1 = 1;
export const R2 = 2;
export const R3 = 3;
export const R4 = 4;
export const R5 = 5;
export const R6 = 6;
export const R7 = 7;
export const R8 = 8;
export const R9 = 9;
export const R10 = 10;

const INSTRUCTION_BYTES = 8;
/** Instruction classes (RFC 9669, section 3.1). */
const CLASS = { LD: 0x00, LDX: 0x01, ST: 0x02, STX: 0x03, ALU: 0x04, JMP: 0x05, ALU64: 0x07 };
const SOURCE_REGISTER = 0x08;
const MODE_MEM = 0x60;
const MODE_ATOMIC = 0xc0;
const SIZES = { u8: 0x10, u16: 0x08, u32: 0x00, u64: 0x18 } as const;
const ARITHMETIC = {
  add: 0x00,
  sub: 0x10,
  mul: 0x20,
  div: 0x30,
  or: 0x40,
  and: 0x50,
  lsh: 0x60,
  rsh: 0x70,
  xor: 0xa0,
  mov: 0xb0,
} as const;
const CONDITIONS = {
  eq: 0x10,
  gt: 0x20,
  ge: 0x30,
  set: 0x40,
  ne: 0x50,
  lt: 0xa0,
  le: 0xb0,
} as const;
const JA = 0x00;
const CALL = 0x80;
const EXIT = 0x90;
const END_TO_BIG = 0xd8;
/** ld_imm64 with the descriptor of a map (RFC 9669, section 5.4). */
const LOAD_MAP = CLASS.LD | SIZES.u64;
const PSEUDO_MAP_FD = 1;

export type Size = keyof typeof SIZES;
type Register = number;
/** A register, or an immediate value (32 bits, sign-extended). */
export type Operand = { readonly register: Register } | number;
export const reg = (register: Register): Operand => ({ register });

interface Jump {
  readonly at: number;
  readonly label: string;
}

export class Assembler {
  readonly #bytes: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #jumps: Jump[] = [];

  /** `to` op= `operand` on 64 bits; "mov" sets `to`. */
  alu(operation: keyof typeof ARITHMETIC, to: Register, operand: Operand): this {
    return this.#withOperand(CLASS.ALU64 | ARITHMETIC[operation], to, 0, operand);
  }

  /** As `alu`, on the lower 32 bits. Clears the upper ones. */
  alu32(operation: keyof typeof ARITHMETIC, to: Register, operand: Operand): this {
    return this.#withOperand(CLASS.ALU | ARITHMETIC[operation], to, 0, operand);
  }

  /** Converts the lower bits to network order. Clears the others. */
  toNetworkOrder(register: Register, bits: 16 | 32 | 64): this {
    return this.#emit(CLASS.ALU | END_TO_BIG, register, 0, 0, bits);
  }

  load(size: Size, to: Register, from: Register, offset: number): this {
    return this.#emit(CLASS.LDX | MODE_MEM | SIZES[size], to, from, offset, 0);
  }

  store(size: Size, to: Register, offset: number, value: Operand): this {
    return typeof value === "number"
      ? this.#emit(CLASS.ST | MODE_MEM | SIZES[size], to, 0, offset, value)
      : this.#emit(CLASS.STX | MODE_MEM | SIZES[size], to, value.register, offset, 0);
  }

  /** Adds atomically to 64 bits of shared memory. */
  atomicAdd(to: Register, offset: number, value: Register): this {
    return this.#emit(CLASS.STX | MODE_ATOMIC | SIZES.u64, to, value, offset, ARITHMETIC.add);
  }

  loadMap(to: Register, fd: number): this {
    return this.#emit(LOAD_MAP, to, PSEUDO_MAP_FD, 0, fd).#emit(0, 0, 0, 0, 0);
  }

  jump(label: string): this {
    return this.#jumpBy(CLASS.JMP | JA, 0, 0, label);
  }

  /** Jumps by an unsigned comparison; "set": any of the bits is set. */
  jumpIf(left: Register, condition: keyof typeof CONDITIONS, right: Operand, label: string): this {
    return this.#jumpBy(CLASS.JMP | CONDITIONS[condition], left, right, label);
  }

  label(name: string): this {
    if (this.#labels.has(name)) throw new Error(`duplicate label ${name}`);
    this.#labels.set(name, this.#count);
    return this;
  }

  /** Calls a helper function by its number (enum bpf_func_id). */
  call(helper: number): this {
    return this.#emit(CLASS.JMP | CALL, 0, 0, 0, helper);
  }

  exit(): this {
    return this.#emit(CLASS.JMP | EXIT, 0, 0, 0, 0);
  }

  /** Returns the program. @throws Error if a label is missing or behind its jump */
  finish(): Uint8Array {
    const bytes = new Uint8Array(this.#bytes);
    const view = new DataView(bytes.buffer);
    for (const { at, label } of this.#jumps) {
      const target = this.#labels.get(label);
      if (target === undefined) throw new Error(`no label ${label}`);
      if (target <= at) throw new Error(`label ${label} is behind its jump`);
      view.setInt16(at * INSTRUCTION_BYTES + 2, target - at - 1, true);
    }
    return bytes;
  }

  get #count(): number {
    return this.#bytes.length / INSTRUCTION_BYTES;
  }

  #jumpBy(operation: number, left: Register, right: Operand, label: string): this {
    this.#jumps.push({ at: this.#count, label });
    return this.#withOperand(operation, left, 0, right);
  }

  #withOperand(operation: number, to: Register, offset: number, operand: Operand): this {
    return typeof operand === "number"
      ? this.#emit(operation, to, 0, offset, operand)
      : this.#emit(operation | SOURCE_REGISTER, to, operand.register, offset, 0);
  }

  #emit(operation: number, to: Register, from: Register, offset: number, immediate: number): this {
    const bytes = new Uint8Array(INSTRUCTION_BYTES);
    const view = new DataView(bytes.buffer);
    view.setUint8(0, operation);
    view.setUint8(1, to | (from << 4));
    view.setInt16(2, offset, true);
    view.setInt32(4, immediate, true);
    this.#bytes.push(...bytes);
    return this;
  }
}
