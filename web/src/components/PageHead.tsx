import { Group, Text, Title } from "@mantine/core";
import { type ReactNode, useEffect } from "react";

/** A page's title, what it is for, and its actions. */
export function PageHead({ title, text, children }: { title: string; text?: ReactNode; children?: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · bakehouse`;
  }, [title]);
  return (
    <Group justify="space-between" align="flex-end" mb="lg" gap="sm">
      <div style={{ minWidth: 0 }}>
        <Title order={1}>{title}</Title>
        {text && <Text c="dimmed" mt={4} maw={640}>{text}</Text>}
      </div>
      <Group gap="xs">{children}</Group>
    </Group>
  );
}
