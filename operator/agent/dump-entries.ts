/** Entries of a dump as the node has them now; the kernel's L2TP does not know all of it. Pure. */
import type { DumpEntry, Listing } from "../../datapath/datapath.ts";
import type { PresentLinks } from "../../model/attachments/index.ts";
import { linkId } from "../../model/link-label.ts";

const ofSession = (key: string): string => `L2tpSession ${key}`;

/** With the names that interfaces have now. @param exists whether the node has a link of the name */
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
    // Nothing tells whose a device is that somebody else has renamed or moved.
    const name = names.get(entry.owner ?? "") ?? (given !== "" && exists(given) ? given : "");
    return name === given ? entry : { ...entry, interface: name };
  });
}

/** With the frames that devices have refused as errors, and no longer as received. */
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
