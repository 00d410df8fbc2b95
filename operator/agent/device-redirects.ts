/**
 * Devices on the node that tc redirects received frames from, to the device of another session. Switched sessions have
 * devices only if at least one of the two is in the kernel datapath.
 */
import { traitsOf } from "../../datapath/registry/datapaths.ts";
import type { TagRules } from "../../model/pseudowires/index.ts";
import type { ResolvedSession } from "../resolve/resolved.ts";
import type { DeviceTags } from "./device-tags.ts";

const NO_RULES: TagRules = { fromWire: [], toWire: [] };
const ALL_FRAMES: TagRules = { fromWire: [{ action: { do: "pass" } }], toWire: [] };

/**
 * @param tags devices whose frames tc rewrites
 * @param deviceName returns the name of a session's device on the node
 * @param before devices of the previous reconcile; null: this is the first reconcile
 * @returns `tags`, and the devices that redirect frames or did so before
 */
export function withRedirects(
  tags: readonly DeviceTags[],
  sessions: Iterable<ResolvedSession>,
  deviceName: (resolved: ResolvedSession) => string,
  before: readonly DeviceTags[] | null,
): DeviceTags[] {
  const bySession = new Map(Array.from(sessions, (one) => [one.session.key, one]));
  const rewritten = new Map(tags.map((one) => [one.session, one]));
  const redirected = new Set(
    before?.flatMap(({ session, redirectTo }) => (redirectTo === undefined ? [] : [session])),
  );
  for (const [session, resolved] of bySession) {
    const { switched, tunnel } = resolved;
    const makesDevice = traitsOf(tunnel.datapath).makesDevices;
    const own = rewritten.get(session);
    const plain = { session, settings: {}, netns: null, device: deviceName(resolved) };
    const target = switched?.byDevices === true ? bySession.get(switched.to) : undefined;
    if (target !== undefined) {
      const rules = own?.rules ?? ALL_FRAMES;
      rewritten.set(session, { ...plain, ...own, rules, redirectTo: deviceName(target) });
    } else if (own === undefined && makesDevice && (before === null || redirected.has(session))) {
      // An earlier reconcile or an earlier agent may have left a filter.
      rewritten.set(session, { ...plain, rules: NO_RULES });
    }
  }
  return [...rewritten.values()];
}
