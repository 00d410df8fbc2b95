/** Formats of AVP values, with encoders and decoders. */
import { fromHex, NO_OCTETS, type Octets, toHex } from "./octets.ts";

export interface Format<T> {
  encode(value: T): Octets;
  /** undefined: malformed. */
  decode(octets: Octets): T | undefined;
}

function unsigned(bytes: 2 | 4): Format<number> {
  return {
    encode(value) {
      const octets = new Uint8Array(bytes);
      const view = new DataView(octets.buffer);
      if (bytes === 2) view.setUint16(0, value);
      else view.setUint32(0, value);
      return octets;
    },
    decode(octets) {
      if (octets.length !== bytes) return undefined;
      const view = viewOf(octets);
      return bytes === 2 ? view.getUint16(0) : view.getUint32(0);
    },
  };
}

export const UINT16 = unsigned(2);
export const UINT32 = unsigned(4);

/** An ID: 32 bits that must not be zero. */
export const ID: Format<number> = {
  encode: UINT32.encode,
  decode: (octets) => UINT32.decode(octets) || undefined,
};

export const UINT64: Format<bigint> = {
  encode(value) {
    const octets = new Uint8Array(8);
    new DataView(octets.buffer).setBigUint64(0, value);
    return octets;
  },
  decode: (octets) => (octets.length === 8 ? viewOf(octets).getBigUint64(0) : undefined),
};

/** A list of 16-bit numbers. */
export const UINT16_LIST: Format<readonly number[]> = {
  encode(values) {
    const octets = new Uint8Array(2 * values.length);
    const view = new DataView(octets.buffer);
    for (const [index, value] of values.entries()) view.setUint16(2 * index, value);
    return octets;
  },
  decode(octets) {
    if (octets.length % 2 !== 0) return undefined;
    const view = viewOf(octets);
    return Array.from({ length: octets.length / 2 }, (_, index) => view.getUint16(2 * index));
  },
};

/** Octets as text, with one character per octet: lossless for any encoding. */
export const TEXT: Format<string> = {
  encode: (text) => Uint8Array.from(text, (character) => character.charCodeAt(0)),
  decode: (octets) => Array.from(octets, (octet) => String.fromCharCode(octet)).join(""),
};

/** Text of at least one octet. */
export const NAME: Format<string> = {
  encode: TEXT.encode,
  decode: (octets) => TEXT.decode(octets) || undefined,
};

/** An AVP whose presence is its value. */
export const PRESENT: Format<true> = {
  encode: () => NO_OCTETS,
  decode: () => true,
};

/** Texts of at least one octet. Each is in a separate AVP. */
export const NAMES: Format<readonly string[]> = {
  encode: ([name = ""]) => NAME.encode(name),
  decode(octets) {
    const name = NAME.decode(octets);
    return name === undefined ? undefined : [name];
  },
};

export const OCTETS: Format<Octets> = {
  encode: (octets) => octets,
  decode: (octets) => octets,
};

/** Octets as hexadecimal digits. @param lengths permitted lengths, in octets */
export function hex(...lengths: readonly number[]): Format<string> {
  return {
    encode: fromHex,
    decode: (octets) => (lengths.includes(octets.length) ? toHex(octets) : undefined),
  };
}

/** The reason of the end of a control connection or session (5.4.2). result-code.ts has the numbers. */
export interface ResultCode {
  readonly result: number;
  /** "General error code". */
  readonly error?: number;
  /** Human-readable text; UTF-8. */
  readonly message?: string;
}

/** Limit of the message, which can quote the peer: an AVP is short. */
const MAX_MESSAGE_OCTETS = 200;

export const RESULT_CODE: Format<ResultCode> = {
  encode({ result, error, message }) {
    if (error === undefined && message === undefined) return UINT16.encode(result);
    const text = new TextEncoder().encode(message ?? "").subarray(0, MAX_MESSAGE_OCTETS);
    const octets = new Uint8Array(4 + text.length);
    octets.set(UINT16_LIST.encode([result, error ?? 0]));
    octets.set(text, 4);
    return octets;
  },
  decode(octets) {
    if (octets.length !== 2 && octets.length < 4) return undefined;
    const view = viewOf(octets);
    if (octets.length === 2) return { result: view.getUint16(0) };
    const message = new TextDecoder().decode(octets.subarray(4));
    return {
      result: view.getUint16(0),
      error: view.getUint16(2),
      ...(message === "" ? {} : { message }),
    };
  },
};

/** Counters of a WEN (5.4.5). */
export interface CircuitErrors {
  readonly hardwareOverruns: number;
  readonly bufferOverruns: number;
  readonly timeoutErrors: number;
  readonly alignmentErrors: number;
}

const COUNTERS = [
  "hardwareOverruns",
  "bufferOverruns",
  "timeoutErrors",
  "alignmentErrors",
] as const;
const RESERVED_BYTES = 2;
const FIGURE_BYTES = RESERVED_BYTES + 4 * COUNTERS.length;
/** RFC 2661 has two more counters in front. RFC 3931 removed them from the figure, and kept the length. */
const LENGTH_BYTES = FIGURE_BYTES + 8;

export const CIRCUIT_ERRORS: Format<CircuitErrors> = {
  encode(counters) {
    const octets = new Uint8Array(FIGURE_BYTES);
    const view = viewOf(octets);
    for (const [index, name] of COUNTERS.entries()) {
      view.setUint32(RESERVED_BYTES + 4 * index, counters[name]);
    }
    return octets;
  },
  decode(octets) {
    if (octets.length !== FIGURE_BYTES && octets.length !== LENGTH_BYTES) return undefined;
    const view = viewOf(octets);
    const first = octets.length - 4 * COUNTERS.length;
    const [hardwareOverruns = 0, bufferOverruns = 0, timeoutErrors = 0, alignmentErrors = 0] =
      COUNTERS.map((_, index) => view.getUint32(first + 4 * index));
    return { hardwareOverruns, bufferOverruns, timeoutErrors, alignmentErrors };
  },
};

function viewOf(octets: Octets): DataView {
  return new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
}
