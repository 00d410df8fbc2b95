/** Bits of the Circuit Status AVP (RFC 3931, 5.4.5; RFC 5641). */

export const CircuitBit = {
  Active: 0x01,
  /** No longer of use (RFC 5641, 3.2). */
  New: 0x02,
  /** Local fault of the attachment circuit, receiving. */
  ReceiveFault: 0x04,
  TransmitFault: 0x08,
  /** Fault on the packet switched network, receiving: ingress. */
  IngressFault: 0x10,
  EgressFault: 0x20,
  Standby: 0x40,
} as const;

export interface CircuitStatus {
  readonly active: boolean;
  /** Another pseudowire carries the circuit; this one waits. */
  readonly standby: boolean;
}

/** Whether frames get through to it. */
export function isCarrying({ active, standby }: CircuitStatus): boolean {
  return active && !standby;
}

export function encodeCircuitStatus({ active, standby }: CircuitStatus): number {
  return (active ? CircuitBit.Active : 0) | (standby ? CircuitBit.Standby : 0);
}

const FAULTS =
  CircuitBit.ReceiveFault |
  CircuitBit.TransmitFault |
  CircuitBit.IngressFault |
  CircuitBit.EgressFault;

/** Who reports a fault may still call itself active (RFC 5641, 3.1): nothing gets through. */
export function decodeCircuitStatus(bits: number): CircuitStatus {
  return {
    active: (bits & CircuitBit.Active) !== 0 && (bits & FAULTS) === 0,
    standby: (bits & CircuitBit.Standby) !== 0,
  };
}

/** "active", "not active: receive fault", "active, standby". */
export function describeCircuitStatus(bits: number): string {
  const words = Object.entries(CircuitBit).flatMap(([name, bit]) =>
    name !== "Active" && (bits & bit) !== 0
      ? [name.replaceAll(/(?<=[a-z])[A-Z]/g, " $&").toLowerCase()]
      : [],
  );
  return [(bits & CircuitBit.Active) === 0 ? "not active" : "active", ...words].join(", ");
}
