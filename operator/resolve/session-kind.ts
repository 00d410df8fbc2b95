/**
 * Requirements of a session's pseudowire type and attachment mode on its tunnel's datapath, and the place of the source
 * MAC filter (spec.attachment.macSpoofing). rules.ts has the rules between types and modes.
 */
import {
  ATTACHMENT_MODES,
  type Attachment,
  attachmentMode,
  modeNameOf,
} from "../../model/attachments/index.ts";
import type { DatapathTraits, KernelSupport } from "../../model/datapath.ts";
import type { Session, Tunnel } from "../../model/model.ts";
import {
  kernelPart,
  type PseudowireSettings,
  type PseudowireType,
  pseudowireNamed,
  pseudowireSettings,
} from "../../model/pseudowires/index.ts";
import { keyOf, type L2tpSession, type SessionSpec } from "../api/types.ts";
import { whyNotPreviousCookie } from "./previous-cookie.ts";
import { RefusalError } from "./refusal.ts";
import { switchTarget } from "./switches.ts";

type Asking = Pick<L2tpSession, "spec">;
type PseudowireField = Pick<SessionSpec, "pseudowireType"> &
  Omit<PseudowireSettings, "mtu" | "pseudowireType">;
type ModeName = NonNullable<NonNullable<SessionSpec["attachment"]>["mode"]>;

/**
 * Returns the session's pseudowire type, and its fields in the model. tsc fails if the types of
 * model/pseudowires/index.ts and the enum in crds/ differ.
 */
export function pseudowireTypeOf({ spec }: Asking): {
  readonly type: PseudowireType;
  readonly field: PseudowireField;
} {
  const type = pseudowireNamed(spec.pseudowireType);
  return { type, field: pseudowireSettings(spec) };
}

/** Returns the name of the session's attachment mode. tsc fails if index.ts and crds/ differ. */
export const modeName = ({ spec }: Asking): ModeName => modeNameOf(spec.attachment?.mode);

const modeOf = ({ spec }: Asking) => attachmentMode(spec.attachment?.mode);

/** True if the node drops frames of pods with another source MAC address. */
export const refusesSpoofing = ({ spec }: Asking): boolean =>
  spec.attachment?.macSpoofing === "Refuse";

/** True if the filter is at the session's own device, which is in the pod. */
const holdsDevice = (object: Asking): boolean =>
  refusesSpoofing(object) && modeOf(object).macSpoofingAt === "device";

const REWRITE_ONLY =
  "a tc filter that rewrites VLAN tags cannot also redirect frames to an interface";

/** True if filters at the device rewrite tags: they end the lookup, so no other filter can redirect the frame. */
const isJoinedBehindTags = (
  object: Asking,
  type: PseudowireType,
  { makesDevices }: DatapathTraits,
): boolean =>
  makesDevices &&
  modeOf(object).onNode !== undefined &&
  object.spec.attachment?.create !== true &&
  kernelPart(type)?.tagRules !== undefined;

/** Returns a sentence that names the session and says why the datapath cannot carry it; null: it can. */
export function whyNotSession(
  object: L2tpSession,
  traits: DatapathTraits,
  kernel: KernelSupport,
): string | null {
  if (!traits.filtersSourceMac && holdsDevice(object)) {
    return `L2tpSession ${keyOf(object)} has attachment.macSpoofing Refuse, which requires the userspace datapath in mode ${modeName(object)}`;
  }
  const whyNotCookie = whyNotPreviousCookie(object, traits);
  if (whyNotCookie !== null) return `L2tpSession ${keyOf(object)} has ${whyNotCookie}`;
  const whyNoSwitch = whyNotSwitch(object, traits, kernel);
  if (whyNoSwitch !== null) {
    return `L2tpSession ${keyOf(object)} is in mode ${modeName(object)}: ${whyNoSwitch}`;
  }
  const { type } = pseudowireTypeOf(object);
  if (isJoinedBehindTags(object, type, traits)) {
    return `L2tpSession ${keyOf(object)} has spec.pseudowireType ${type.name} and is joined to an interface: ${REWRITE_ONLY}`;
  }
  const why = traits.whyNotPseudowire(type, kernel);
  return why === null
    ? null
    : `L2tpSession ${keyOf(object)} has spec.pseudowireType ${type.name}: ${why}`;
}

/**
 * Checks pseudowire type and macSpoofing against the tunnel's datapath.
 * @throws RefusalError if the datapath cannot carry the session
 */
export function requireCarriable(
  object: L2tpSession,
  { name }: Tunnel,
  traits: DatapathTraits,
  kernel: KernelSupport,
): void {
  const userspace = "set spec.datapath: Userspace on that tunnel";
  const whyNoSwitch = whyNotSwitch(object, traits, kernel);
  if (whyNoSwitch !== null) {
    const message = `spec.attachment.mode: "${modeName(object)}": L2tpTunnel ${name} is in the kernel: ${whyNoSwitch}; ${userspace}`;
    throw new RefusalError("Programmed", "NotInKernel", message);
  }
  const { type } = pseudowireTypeOf(object);
  const why = traits.whyNotPseudowire(type, kernel);
  if (why !== null) {
    const message = `spec.pseudowireType: "${type.name}": L2tpTunnel ${name} is in the kernel: ${why}; ${userspace}`;
    throw new RefusalError("Programmed", "NotInKernel", message);
  }
  if (isJoinedBehindTags(object, type, traits)) {
    const remedy = `${userspace}, or set spec.attachment.create: true, or join a VLAN of the interface with pseudowireType Ethernet`;
    const message = `spec.attachment.interface: L2tpTunnel ${name} is in the kernel: ${REWRITE_ONLY}; ${remedy}`;
    throw new RefusalError("Programmed", "NotInKernel", message);
  }
  const whyNotCookie = whyNotPreviousCookie(object, traits);
  if (whyNotCookie !== null) {
    const message = `${whyNotCookie}, and L2tpTunnel ${name} is in the kernel; ${userspace}, or omit receivePrevious`;
    throw new RefusalError("Programmed", "NotInKernel", message);
  }
  if (traits.filtersSourceMac || !holdsDevice(object)) return;
  const modes = ATTACHMENT_MODES.filter(({ macSpoofingAt }) => macSpoofingAt === "port");
  const remedy = `${userspace}, or spec.attachment.mode: ${modes.map((mode) => mode.name).join(" or ")}`;
  const message = `spec.attachment.macSpoofing: "Refuse": L2tpTunnel ${name} is in the kernel, which cannot filter frames of a pod's own device; ${remedy}`;
  throw new RefusalError("Programmed", "NoNodeSide", message);
}

/**
 * Refuses a session in mode Switch that names itself, or that a pod has attached.
 * @param isAttached true if a pod attached before the mode was set
 * @throws RefusalError
 */
export function requireSwitchable(object: L2tpSession, isAttached: boolean): void {
  const { whyNoPods } = modeOf(object);
  const key = keyOf(object);
  if (switchTarget(object) === key) {
    const message = `spec.attachment.switchTo: ${key} is the session itself; use another session`;
    throw new RefusalError("Accepted", "Invalid", message);
  }
  if (whyNoPods === undefined || !isAttached) return;
  const message = `spec.attachment.mode: "${modeName(object)}": a pod is attached to the session; delete the pod first`;
  throw new RefusalError("Programmed", "PodAttached", message);
}

/** Returns why a kernel datapath cannot switch the session's frames, which requires tc; null: it can. */
function whyNotSwitch(object: L2tpSession, traits: DatapathTraits, kernel: KernelSupport) {
  if (!traits.makesDevices || switchTarget(object) === null) return null;
  return kernel.redirects ?? null;
}

/** Returns the session with the source MAC address that the datapath must enforce, if any. */
export function heldToMac(
  session: Session,
  { object }: { readonly object: Asking },
  pod: Pick<Attachment, "mac"> | undefined,
): Session {
  if (pod === undefined || !holdsDevice(object)) return session;
  return { ...session, sourceMac: pod.mac };
}
