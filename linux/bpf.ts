/** BPF maps, programs and their attachment to devices: bpf(2), include/uapi/linux/bpf.h. */
import { checked, SystemError } from "./errno.ts";
import { closeFd } from "./fd.ts";
import { c, lastErrno, map } from "./ffi.ts";
import { createMemory, type Memory, setWord64 } from "./memory.ts";

const SYS_BPF = process.arch === "arm64" ? 280 : 321;
/** enum bpf_cmd. */
const COMMAND = { mapCreate: 0, update: 2, delete: 3, load: 5, linkCreate: 28 } as const;
const MAP_HASH = 1;
const MAP_ARRAY = 2;
const F_NO_PREALLOC = 1;
const F_MMAPABLE = 1 << 10;
const PROG_TYPE_SCHED_CLS = 3;
const TCX_INGRESS = 46;

/** The part of union bpf_attr that these commands use. The kernel takes the rest as zeros. */
const ATTRIBUTE_BYTES = 72;
const NAME_BYTES = 15;
const LOG_BYTES = 64 * 1024;
const PAGE_BYTES = 4096;

/** The kernel reads it during a call. Calls of one thread do not overlap. */
let attributes: Memory | undefined;

function call(command: number, fill: (view: DataView, bytes: Uint8Array) => void): number {
  attributes ??= createMemory(ATTRIBUTE_BYTES);
  attributes.bytes.fill(0);
  fill(attributes.view, attributes.bytes);
  return c.bpf(SYS_BPF, command, attributes.bytes, ATTRIBUTE_BYTES);
}

function writeName(bytes: Uint8Array, offset: number, name: string): void {
  new TextEncoder().encodeInto(name, bytes.subarray(offset, offset + NAME_BYTES));
}

/** A hash map in the kernel for lookups by programs. */
export class BpfMap {
  readonly fd: number;
  readonly #name: string;
  readonly #key: Memory;
  readonly #value: Memory;

  /** @throws SystemError EPERM without CAP_BPF or CAP_SYS_ADMIN */
  constructor(name: string, keyBytes: number, valueBytes: number, entries: number) {
    this.#name = name;
    this.#key = createMemory(keyBytes);
    this.#value = createMemory(valueBytes);
    this.fd = createMap(MAP_HASH, name, keyBytes, valueBytes, entries, F_NO_PREALLOC);
  }

  /** @throws SystemError E2BIG if the map is full */
  set(key: Uint8Array, value: Uint8Array): void {
    this.#value.bytes.set(value);
    const result = this.#access(COMMAND.update, key);
    checked(result, "bpf update", this.#name);
  }

  /** Deletes an entry, if it exists. */
  delete(key: Uint8Array): void {
    this.#access(COMMAND.delete, key);
  }

  close(): void {
    closeFd(this.fd);
  }

  #access(command: number, key: Uint8Array): number {
    this.#key.bytes.set(key);
    return call(command, (view) => {
      view.setUint32(0, this.fd, true);
      setWord64(view, 8, this.#key.address);
      setWord64(view, 16, command === COMMAND.update ? this.#value.address : 0);
    });
  }
}

/** An array in memory that programs and this process share. */
export class SharedArray {
  readonly fd: number;
  readonly words: BigUint64Array;

  /** @param valueBytes a multiple of 8 @throws SystemError */
  constructor(name: string, valueBytes: number, entries: number) {
    const bytes = valueBytes * entries;
    this.fd = createMap(MAP_ARRAY, name, 4, valueBytes, entries, F_MMAPABLE);
    const whole = Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
    const memory = map(this.fd, 0, whole);
    if (memory === null) {
      const errno = lastErrno();
      closeFd(this.fd);
      throw new SystemError(errno, `mmap BPF map ${name}`);
    }
    this.words = new BigUint64Array(memory, 0, bytes / 8);
  }
}

function createMap(
  type: number,
  name: string,
  keyBytes: number,
  valueBytes: number,
  entries: number,
  flags: number,
): number {
  const fd = call(COMMAND.mapCreate, (view, bytes) => {
    for (const [index, field] of [type, keyBytes, valueBytes, entries, flags].entries()) {
      view.setUint32(index * 4, field, true);
    }
    writeName(bytes, 28, name);
  });
  return checked(fd, "bpf map create", name);
}

/**
 * Loads a program for the traffic of a device (BPF_PROG_TYPE_SCHED_CLS).
 * @returns the descriptor
 * @throws SystemError, with the verifier's last message if it rejects the program
 */
export function loadProgram(name: string, instructions: Uint8Array): number {
  const code = createMemory(instructions.length);
  code.bytes.set(instructions);
  const license = createMemory(16);
  // The programs call no GPL-only helpers.
  new TextEncoder().encodeInto("Dual MIT/GPL", license.bytes);
  const load = (log: Memory | null) =>
    call(COMMAND.load, (view, bytes) => {
      view.setUint32(0, PROG_TYPE_SCHED_CLS, true);
      view.setUint32(4, instructions.length / 8, true);
      setWord64(view, 8, code.address);
      setWord64(view, 16, license.address);
      if (log !== null) {
        view.setUint32(24, 1, true);
        view.setUint32(28, log.bytes.length, true);
        setWord64(view, 32, log.address);
      }
      writeName(bytes, 48, name);
    });
  const fd = load(null);
  if (fd >= 0) return fd;
  const errno = lastErrno();
  const log = createMemory(LOG_BYTES);
  load(log);
  throw new SystemError(errno, `bpf load ${name}${lastMessage(log.bytes)}`);
}

function lastMessage(log: Uint8Array): string {
  const end = log.indexOf(0);
  const lines = Buffer.from(log.subarray(0, Math.max(end, 0)))
    .toString()
    .trim()
    .split("\n");
  const last = lines.filter((line) => !line.startsWith("processed ")).at(-1) ?? "";
  return last === "" ? "" : ` (${last})`;
}

/**
 * Attaches a program to the ingress of a device in the process's namespace (tcx, Linux 6.6), after those that are
 * already attached. Closing the descriptor detaches it.
 * @returns the descriptor of the attachment
 * @throws SystemError
 */
export function attachIngress(program: number, ifindex: number): number {
  const fd = call(COMMAND.linkCreate, (view) => {
    view.setUint32(0, program, true);
    view.setUint32(4, ifindex, true);
    view.setUint32(8, TCX_INGRESS, true);
  });
  return checked(fd, "bpf link create", `device ${ifindex}`);
}
