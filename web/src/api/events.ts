import { useEffect, useRef } from "react";

/** Follow server-sent events. The browser connects again by itself; `ends` are the events after which it should not. */
export function useEvents(
  url: string | null,
  names: readonly string[],
  onEvent: (name: string, data: unknown) => boolean | void,
): void {
  const handler = useRef(onEvent);
  handler.current = onEvent;
  const list = names.join(" ");
  useEffect(() => {
    if (url === null) return;
    const source = new EventSource(url);
    for (const name of list.split(" ")) {
      source.addEventListener(name, (event) => {
        if (handler.current(name, JSON.parse((event as MessageEvent<string>).data)) === false) source.close();
      });
    }
    return () => source.close();
  }, [url, list]);
}
