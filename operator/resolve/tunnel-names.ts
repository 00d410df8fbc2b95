/** Whose tunnel is it? The kernel knows tunnels by their ids alone. */
import type { Intake } from "./intake.ts";

/**
 * Finds the name of a tunnel that the kernel has.
 * @param remembered names by id, of an earlier version of the objects
 * @returns given an id, and the keys of the sessions in the tunnel: its name, where anybody can tell
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
    // One that asks for another id cannot have been it.
    const isPossible = (name: string) => {
      const id = tunnels.get(name)?.spec.tunnelId;
      return id === undefined || id === tunnelId;
    };
    const named = keys.flatMap((key) => sessions.get(key)?.spec.tunnelRef.name ?? []);
    return asked.get(tunnelId) ?? named.find(isPossible) ?? remembered.get(tunnelId);
  };
}
