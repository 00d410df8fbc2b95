/** Completes the entries of a dump with values that the kernel's L2TP does not know. Pure. */
import type { DumpEntry, Listing } from "../../datapath/datapath.ts";
import type { PresentLinks } from "../../model/attachments/index.ts";
import { linkId } from "../../model/link-label.ts";

const ofSession = (key: string): string => `L2tpSession ${key}`;

/** Returns the entries with the present names of interfaces. @param exists returns true if the node has such a link */
export function withInterfaces(
  entries: readonly DumpEntry[],
  { sessions }: Listing,
  links: PresentLinks,
  exists: (name: string) => boolean,
): DumpEntry[] {
  const names = new Map(
    sessions.map(({ session: { key } }) => [
      ofSession(key),
      links.get(linkId.pseudowire(key))?.name,
    ]),
  );
  return entries.map((entry) => {
    const given = entry.interface;
    // A foreign device that was renamed or moved cannot be found.
    const name = names.get(entry.owner ?? "") ?? (given !== "" && exists(given) ? given : "");
    return name === given ? entry : { ...entry, interface: name };
  });
}

/** Returns the entries with frames that devices refused counted as errors, not as received. */
export function withRefusedFrames(
  entries: readonly DumpEntry[],
  { sessions }: Listing,
): DumpEntry[] {
  const refused = new Map<string, number>();
  for (const { session, deviceErrors = 0 } of sessions) {
    if (deviceErrors === 0) continue;
    const tunnel = `L2tpTunnel ${session.tunnel}`;
    refused.set(ofSession(session.key), deviceErrors);
    refused.set(tunnel, (refused.get(tunnel) ?? 0) + deviceErrors);
  }
  return entries.map((entry) => {
    const frames = refused.get(entry.owner ?? "") ?? 0;
    if (frames === 0) return entry;
    const { rxPackets = 0, rxErrors = 0, ...others } = entry.counters;
    const counted = { rxPackets: Math.max(0, rxPackets - frames), rxErrors: rxErrors + frames };
    return { ...entry, counters: { ...others, ...counted } };
  });
}
