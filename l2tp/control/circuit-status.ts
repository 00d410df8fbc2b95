/** Bits of the Circuit Status AVP (RFC 3931, 5.4.5; RFC 5641). */

export const CircuitBit = {
  Active: 0x01,
  /** Obsolete (RFC 5641, 3.2). */
  New: 0x02,
  /** Local attachment circuit receive fault. */
  ReceiveFault: 0x04,
  TransmitFault: 0x08,
  /** Local packet switched network receive (ingress) fault. */
  IngressFault: 0x10,
  EgressFault: 0x20,
  Standby: 0x40,
} as const;

export interface CircuitStatus {
  readonly active: boolean;
  /** True if the circuit is usable, but another pseudowire forwards its frames. */
  readonly standby: boolean;
}

/** True if the circuit forwards frames. */
export function isCarrying({ active, standby }: CircuitStatus): boolean {
  return active && !standby;
}

/** Returns the value of the Circuit Status AVP (RFC 3931, 5.4.5; RFC 5641). */
export function encodeCircuitStatus({ active, standby }: CircuitStatus): number {
  return (active ? CircuitBit.Active : 0) | (standby ? CircuitBit.Standby : 0);
}

const FAULTS =
  CircuitBit.ReceiveFault |
  CircuitBit.TransmitFault |
  CircuitBit.IngressFault |
  CircuitBit.EgressFault;

/** Decodes the bits. A circuit with a fault is not active, although its active bit may be set (RFC 5641, 3.1). */
export function decodeCircuitStatus(bits: number): CircuitStatus {
  return {
    active: (bits & CircuitBit.Active) !== 0 && (bits & FAULTS) === 0,
    standby: (bits & CircuitBit.Standby) !== 0,
  };
}

/** Returns the status as text: "active", "not active, receive fault", "active, standby". */
export function describeCircuitStatus(bits: number): string {
  const words = Object.entries(CircuitBit).flatMap(([name, bit]) =>
    name !== "Active" && (bits & bit) !== 0
      ? [name.replaceAll(/(?<=[a-z])[A-Z]/g, " $&").toLowerCase()]
      : [],
  );
  return [(bits & CircuitBit.Active) === 0 ? "not active" : "active", ...words].join(", ");
}
