import { SegmentedControl, useMantineColorScheme, VisuallyHidden } from "@mantine/core";
import { IconDeviceDesktop, IconMoon, IconSun } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";

const SCHEMES = [["light", IconSun], ["dark", IconMoon], ["auto", IconDeviceDesktop]] as const;

/** Light, dark, or as the system says. */
export function ColorSchemeMenu({ fullWidth = true }: { fullWidth?: boolean }) {
  const { t } = useTranslation();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  return (
    <SegmentedControl
      aria-label={t("colors.label")}
      fullWidth={fullWidth}
      size="xs"
      value={colorScheme}
      onChange={(value) => setColorScheme(value as "light" | "dark" | "auto")}
      data={SCHEMES.map(([value, SchemeIcon]) => ({
        value,
        label: (
          <span title={t(`colors.${value}`)}>
            <SchemeIcon size={16} stroke={1.7} style={{ display: "block", margin: "2px auto" }} aria-hidden />
            <VisuallyHidden>{t(`colors.${value}`)}</VisuallyHidden>
          </span>
        ),
      }))}
    />
  );
}
