/** Finds the names of the kernel's tunnels: the kernel knows only IDs. */
import type { Intake } from "./intake.ts";

/**
 * @param remembered names by ID, from an earlier version of the objects
 * @returns a function from an ID, and the keys of the tunnel's sessions, to the tunnel's name; undefined: unknown
 */
export function tunnelNamer(
  { tunnels, sessions }: Pick<Intake, "tunnels" | "sessions">,
  nodeName: string,
  remembered: ReadonlyMap<number, string>,
): (tunnelId: number, keys: readonly string[]) => string | undefined {
  const asked = new Map<number, string>();
  for (const [name, { spec }] of tunnels) {
    if (spec.nodeName === nodeName && spec.tunnelId !== undefined) asked.set(spec.tunnelId, name);
  }
  return (tunnelId, keys) => {
    // A tunnel with another ID in its spec cannot be the one.
    const isPossible = (name: string) => {
      const id = tunnels.get(name)?.spec.tunnelId;
      return id === undefined || id === tunnelId;
    };
    const named = keys.flatMap((key) => sessions.get(key)?.spec.tunnelRef.name ?? []);
    return asked.get(tunnelId) ?? named.find(isPossible) ?? remembered.get(tunnelId);
  };
}
