import { useElementSize } from "@mantine/hooks";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, useEffect, useRef } from "react";

interface Props {
  count: number;
  /** Least width of a cell in pixels. */
  cell: number;
  /** Height of a cell beyond its square, in pixels. */
  below?: number;
  label: string;
  onEnd?: () => void;
  children: (index: number) => ReactNode;
}

const GAP = 10;

/** A grid of squares of which only those in sight are in the document: ten thousand scroll as well as ten. */
export function VirtualGrid({ count, cell, below = 0, label, onEnd, children }: Props) {
  const { ref, width } = useElementSize();
  const holder = useRef<HTMLDivElement>(null);
  const columns = Math.max(2, Math.floor((width + GAP) / (cell + GAP)));
  const side = (width - GAP * (columns - 1)) / columns;
  const rows = useWindowVirtualizer({
    count: width ? Math.ceil(count / columns) : 0,
    estimateSize: () => side + below + GAP,
    overscan: 3,
    scrollMargin: holder.current?.offsetTop ?? 0,
  });
  useEffect(() => rows.measure(), [rows, side]);
  const items = rows.getVirtualItems();
  const last = items.at(-1)?.index ?? -1;
  useEffect(() => {
    if (last >= 0 && (last + 1) * columns >= count) onEnd?.();
  }, [last, columns, count, onEnd]);
  return (
    <div ref={holder}>
      <div ref={ref} role="list" aria-label={label} style={{ position: "relative", height: rows.getTotalSize() }}>
        {items.flatMap((row) =>
          Array.from({ length: Math.min(columns, count - row.index * columns) }, (_, column) => {
            const index = row.index * columns + column;
            const top = row.start - rows.options.scrollMargin;
            return (
              <div key={index} role="listitem" aria-setsize={count} aria-posinset={index + 1} style={{ position: "absolute", top: 0, width: side, transform: `translate(${column * (side + GAP)}px, ${top}px)` }}>
                {children(index)}
              </div>
            );
          }),
        )}
      </div>
    </div>
  );
}
