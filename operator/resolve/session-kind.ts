/**
 * What a session's pseudowire type and attachment mode ask of its tunnel's datapath; where pods are held to their MAC
 * addresses (spec.attachment.macSpoofing). rules.ts has what types and modes ask of each other.
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
  type PseudowireSettings,
  type PseudowireType,
  pseudowireNamed,
  pseudowireSettings,
} from "../../model/pseudowires/index.ts";
import { keyOf, type L2tpSession, type SessionSpec } from "../api/types.ts";
import { RefusalError } from "./refusal.ts";
import { switchTarget } from "./switches.ts";

type Asking = Pick<L2tpSession, "spec">;
type PseudowireField = Pick<SessionSpec, "pseudowireType"> &
  Omit<PseudowireSettings, "mtu" | "pseudowireType">;
type ModeName = NonNullable<NonNullable<SessionSpec["attachment"]>["mode"]>;

/**
 * The session's pseudowire type, and how the model says it. tsc refuses a type that model/pseudowires/index.ts has and
 * the enum in crds/ lacks, and the other way round.
 */
export function pseudowireTypeOf({ spec }: Asking): {
  readonly type: PseudowireType;
  readonly field: PseudowireField;
} {
  const type = pseudowireNamed(spec.pseudowireType);
  return { type, field: pseudowireSettings(spec) };
}

/** The name of the session's attachment mode; tsc holds index.ts and crds/ to each other here, too. */
export const modeName = ({ spec }: Asking): ModeName => modeNameOf(spec.attachment?.mode);

const modeOf = ({ spec }: Asking) => attachmentMode(spec.attachment?.mode);

/** Whether pods of the session are held to their addresses. */
export const refusesSpoofing = ({ spec }: Asking): boolean =>
  spec.attachment?.macSpoofing === "Refuse";

/** Whether the session's own device, which is in the pod, is held to the address. */
const holdsDevice = (object: Asking): boolean =>
  refusesSpoofing(object) && modeOf(object).macSpoofingAt === "device";

/** Why a datapath cannot carry the session, in a sentence that names it; null: it can. */
export function whyNotSession(
  object: L2tpSession,
  traits: DatapathTraits,
  kernel: KernelSupport,
): string | null {
  if (!traits.filtersSourceMac && holdsDevice(object)) {
    return `L2tpSession ${keyOf(object)} asks for attachment.macSpoofing Refuse, which in mode ${modeName(object)} is the userspace datapath's`;
  }
  const whyNoSwitch = whyNotSwitch(object, traits, kernel);
  if (whyNoSwitch !== null) {
    return `L2tpSession ${keyOf(object)} is in mode ${modeName(object)}: ${whyNoSwitch}`;
  }
  const { type } = pseudowireTypeOf(object);
  const why = traits.whyNotPseudowire(type, kernel);
  return why === null
    ? null
    : `L2tpSession ${keyOf(object)} has spec.pseudowireType ${type.name}: ${why}`;
}

/**
 * A datapath may carry only some pseudowire types, and may have no side of a session's device when that is in the pod.
 * @throws RefusalError where the tunnel's datapath cannot have the session
 */
export function requireCarriable(
  object: L2tpSession,
  { name }: Tunnel,
  traits: DatapathTraits,
  kernel: KernelSupport,
): void {
  const userspace = "set that tunnel's spec.datapath: Userspace";
  const whyNoSwitch = whyNotSwitch(object, traits, kernel);
  if (whyNoSwitch !== null) {
    const message = `spec.attachment.mode ${modeName(object)}: L2tpTunnel ${name} is in the kernel: ${whyNoSwitch}; ${userspace}`;
    throw new RefusalError("Programmed", "NotInKernel", message);
  }
  const { type } = pseudowireTypeOf(object);
  const why = traits.whyNotPseudowire(type, kernel);
  if (why !== null) {
    const message = `spec.pseudowireType ${type.name}: L2tpTunnel ${name} is in the kernel: ${why}; ${userspace}`;
    throw new RefusalError("Programmed", "NotInKernel", message);
  }
  if (traits.filtersSourceMac || !holdsDevice(object)) return;
  const modes = ATTACHMENT_MODES.filter(({ macSpoofingAt }) => macSpoofingAt === "port");
  const remedy = `${userspace}, or spec.attachment.mode: ${modes.map((mode) => mode.name).join(" or ")}`;
  const message = `spec.attachment.macSpoofing Refuse: L2tpTunnel ${name} is in the kernel, where the node has no side of a pod's own device; ${remedy}`;
  throw new RefusalError("Programmed", "NoNodeSide", message);
}

/**
 * No pod can have a session that is switched, and a switch is to another session.
 * @param isAttached a pod has it, by its manifest before
 * @throws RefusalError
 */
export function requireSwitchable(object: L2tpSession, isAttached: boolean): void {
  const { whyNoPods } = modeOf(object);
  const key = keyOf(object);
  if (switchTarget(object) === key) {
    const message = `spec.attachment.switchTo: ${key} is the session itself; name another one`;
    throw new RefusalError("Accepted", "Invalid", message);
  }
  if (whyNoPods === undefined || !isAttached) return;
  const message = `spec.attachment.mode ${modeName(object)}: a pod has the session; end that pod first`;
  throw new RefusalError("Programmed", "PodAttached", message);
}

/** Devices of the kernel's L2TP hand frames over by tc. */
function whyNotSwitch(object: L2tpSession, traits: DatapathTraits, kernel: KernelSupport) {
  if (!traits.makesDevices || switchTarget(object) === null) return null;
  return kernel.redirects ?? null;
}

/** The session as the datapath is to hold it to the pod's address. */
export function heldToMac(
  session: Session,
  { object }: { readonly object: Asking },
  pod: Pick<Attachment, "mac"> | undefined,
): Session {
  if (pod === undefined || !holdsDevice(object)) return session;
  return { ...session, sourceMac: pod.mac };
}
