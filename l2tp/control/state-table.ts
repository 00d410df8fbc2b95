/** State machines in the form of the RFC's tables: rows of state, event, actions and next state. */

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

  /** @throws RangeError if two rows have the same state and event */
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

  /** Returns the transition; undefined: the RFC has no row, and the event is ignored. */
  find(state: State, event: Event): Transition<State, Action> | undefined {
    return this.#transitions.get(keyOf(state, event));
  }
}

function keyOf(state: string, event: string): string {
  return `${state}: ${event}`;
}
