/** MAC addresses as text: "02:00:5e:00:53:01". */

export const MAC_FORM = /^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$/;

/** Formats the bytes of a MAC address: "02:00:5e:00:53:01". */
export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/** @throws TypeError if the text is not a 48-bit MAC address */
export function parseMac(text: string): Uint8Array {
  if (!MAC_FORM.test(text)) throw new TypeError(`${JSON.stringify(text)} is not a MAC address`);
  return Uint8Array.from(text.split(":"), (byte) => Number.parseInt(byte, 16));
}
