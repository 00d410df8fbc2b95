/** State machines as the RFC's tables have them: rows of state, event, action and new state. */

export interface Transition<State, Action> {
  readonly actions: readonly Action[];
  readonly next: State;
}

export type Row<State, Event, Action> = readonly [
  states: State | readonly State[],
  events: Event | readonly Event[],
  actions: readonly Action[],
  next: State,
];

export class StateTable<State extends string, Event extends string, Action extends string> {
  readonly #transitions = new Map<string, Transition<State, Action>>();

  /** @throws RangeError where two rows are about the same */
  constructor(rows: readonly Row<State, Event, Action>[]) {
    for (const [states, events, actions, next] of rows) {
      for (const state of [states].flat() as State[]) {
        for (const event of [events].flat() as Event[]) this.#add(state, event, { actions, next });
      }
    }
  }

  #add(state: State, event: Event, transition: Transition<State, Action>): void {
    const key = keyOf(state, event);
    if (this.#transitions.has(key)) throw new RangeError(`two rows for ${key}`);
    this.#transitions.set(key, transition);
  }

  /** undefined: the RFC has no row; the event changes nothing. */
  find(state: State, event: Event): Transition<State, Action> | undefined {
    return this.#transitions.get(keyOf(state, event));
  }
}

function keyOf(state: string, event: string): string {
  return `${state}: ${event}`;
}
