/** The variants of a pseudowire on the wire. */

export interface Variant {
  readonly encapsulation: "UDP" | "IP";
  readonly family: 4 | 6;
  readonly cookieBytes: 0 | 4 | 8;
  readonly sublayer: "Default" | "None";
}

export const VARIANTS: readonly Variant[] = (["UDP", "IP"] as const).flatMap((encapsulation) =>
  ([4, 6] as const).flatMap((family) =>
    ([0, 4, 8] as const).flatMap((cookieBytes) =>
      (["Default", "None"] as const).map((sublayer) => ({
        encapsulation,
        family,
        cookieBytes,
        sublayer,
      })),
    ),
  ),
);

/** The received and the sent cookie; the key is their length in bytes. */
export const COOKIES = {
  0: ["", ""],
  4: ["a1b2c3d4", "01020304"],
  8: ["a1b2c3d4e5f60718", "1122334455667788"],
} as const;
