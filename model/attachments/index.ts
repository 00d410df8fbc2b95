/** Attachment modes. The compiler checks them against the enum of spec.attachment.mode. */
import type { PseudowireType } from "../pseudowires/index.ts";
import { bridge } from "./bridge.ts";
import { direct } from "./direct.ts";
import { hostInterface } from "./interface.ts";
import type { AttachmentMode } from "./mode.ts";
import { switchMode } from "./switch.ts";

export { type Attachment, attachmentKey, type GivenMtu, type PodDevice } from "./attachment.ts";
export type { AttachmentMode, Layout, PresentLinks, WantedLinks } from "./mode.ts";
export { portName, stableMac } from "./names.ts";
export {
  hasCircuit,
  holderName,
  type InterfaceState,
  type NodeInterface,
} from "./node-interface.ts";
export { asLeft } from "./pod-link.ts";

const REGISTERED = [
  direct,
  bridge,
  hostInterface,
  switchMode,
] as const satisfies readonly AttachmentMode[];

export type AttachmentModeName = (typeof REGISTERED)[number]["name"];

export const ATTACHMENT_MODES: readonly AttachmentMode[] = REGISTERED;

/** The mode of a session without attachment.mode. */
const DEFAULT_MODE = direct;

/** Returns the mode of that name. @throws RangeError if the name is unknown */
export function attachmentMode(name: AttachmentModeName = DEFAULT_MODE.name): AttachmentMode {
  const found = ATTACHMENT_MODES.find((mode) => mode.name === name);
  if (found === undefined) throw new RangeError(`unknown attachment mode ${name}`);
  return found;
}

/** True if the mode can attach pods to sessions of the type. */
export function canAttach({ devices }: AttachmentMode, { device }: PseudowireType): boolean {
  return device === null ? devices.length === 0 : devices.includes(device.kind);
}

/** Returns the name of a session's mode. */
export function modeNameOf(name: AttachmentModeName | undefined): AttachmentModeName {
  return name ?? DEFAULT_MODE.name;
}
