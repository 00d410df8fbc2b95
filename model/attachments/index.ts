/** The ways in which pods attach to a session. The compiler holds them to the enum of spec.attachment.mode. */
import type { PseudowireType } from "../pseudowires/index.ts";
import { bridge } from "./bridge.ts";
import { direct } from "./direct.ts";
import type { AttachmentMode } from "./mode.ts";
import { switchMode } from "./switch.ts";

export { type Attachment, attachmentKey, type GivenMtu, type PodDevice } from "./attachment.ts";
export type { AttachmentMode, Layout, PresentLinks, WantedLinks } from "./mode.ts";
export { portName, stableMac } from "./names.ts";
export { asLeft } from "./pod-link.ts";

const REGISTERED = [direct, bridge, switchMode] as const satisfies readonly AttachmentMode[];

export type AttachmentModeName = (typeof REGISTERED)[number]["name"];

export const ATTACHMENT_MODES: readonly AttachmentMode[] = REGISTERED;

/** The mode of a session that names none. */
const DEFAULT_MODE = direct;

/** @throws RangeError for a name that no mode has */
export function attachmentMode(name: AttachmentModeName = DEFAULT_MODE.name): AttachmentMode {
  const found = ATTACHMENT_MODES.find((mode) => mode.name === name);
  if (found === undefined) throw new RangeError(`attachment mode ${name}`);
  return found;
}

/** True if a pod can have the type's frames in the mode. */
export function canAttach({ devices }: AttachmentMode, { device }: PseudowireType): boolean {
  return device === null ? devices.length === 0 : devices.includes(device.kind);
}

/** The name of a session's mode. */
export function modeNameOf(name: AttachmentModeName | undefined): AttachmentModeName {
  return name ?? DEFAULT_MODE.name;
}
