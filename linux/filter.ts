/** Classic BPF programs on sockets (include/uapi/linux/filter.h, bpf_common.h). */
import { checked } from "./errno.ts";
import { c } from "./ffi.ts";
import { createMemory, setWord64 } from "./memory.ts";

/** Operations, with the modes that are used here. */
export const Bpf = {
  /** A 32-bit word of the packet, in host byte order. */
  LoadWord: 0x20,
  Multiply: 0x24,
  Modulo: 0x94,
  ShiftRight: 0x74,
  XorX: 0xac,
  CopyToX: 0x07,
  JumpIfEqual: 0x15,
  ReturnConstant: 0x06,
  ReturnA: 0x16,
} as const;

/** Offsets from here on count from the IP header (SKF_NET_OFF). */
export const NETWORK_HEADER = -0x10_0000;

/** `jumpTrue` and `jumpFalse` count instructions that are passed over. */
export interface Instruction {
  readonly code: (typeof Bpf)[keyof typeof Bpf];
  readonly k?: number;
  readonly jumpTrue?: number;
  readonly jumpFalse?: number;
}

const SOL_SOCKET = 1;
/** What the program returns is how many bytes of a packet the socket gets; 0: it does not get it. */
export const SO_ATTACH_FILTER = 26;
/** What it returns is which socket of the port gets the packet, by the order in which they were bound. */
export const SO_ATTACH_REUSEPORT_CBPF = 51;

/** struct sock_filter. */
const INSTRUCTION_BYTES = 8;
/** struct sock_fprog: the length, and at 8 where the program is. */
const PROGRAM_BYTES = 16;

/** @throws SystemError */
export function attachProgram(
  fd: number,
  option: typeof SO_ATTACH_FILTER | typeof SO_ATTACH_REUSEPORT_CBPF,
  program: readonly Instruction[],
): void {
  const code = memoryOf(program);
  const header = Buffer.alloc(PROGRAM_BYTES);
  header.writeUInt16LE(program.length);
  const view = new DataView(header.buffer, header.byteOffset, header.length);
  setWord64(view, 8, code.address);
  const done = c.setsockopt(fd, SOL_SOCKET, option, header, header.length);
  checked(done, "setsockopt", option === SO_ATTACH_FILTER ? "filter" : "reuseport filter");
}

const programs = new Map<string, ReturnType<typeof createMemory>>();

/** Memory is for ever, and there are few programs. */
function memoryOf(program: readonly Instruction[]) {
  const key = JSON.stringify(program);
  const known = programs.get(key);
  if (known !== undefined) return known;
  const memory = createMemory(program.length * INSTRUCTION_BYTES);
  for (const [index, { code, k = 0, jumpTrue = 0, jumpFalse = 0 }] of program.entries()) {
    const at = index * INSTRUCTION_BYTES;
    memory.view.setUint16(at, code, true);
    memory.view.setUint8(at + 2, jumpTrue);
    memory.view.setUint8(at + 3, jumpFalse);
    memory.view.setUint32(at + 4, k, true);
  }
  programs.set(key, memory);
  return memory;
}
