import {
  createTheme, type CSSVariablesResolver, defaultVariantColorsResolver, type MantineColorsTuple, type VariantColorsResolver,
} from "@mantine/core";

const crust: MantineColorsTuple = [
  "#fdf3ec", "#f6e2d4", "#ecc5aa", "#e3a67d", "#db8c57", "#d37a3f", "#bd6222", "#9a4b14", "#823e0f", "#69300a",
];
const gray: MantineColorsTuple = [
  "#faf8f5", "#f3f0eb", "#e9e4dd", "#dcd5cc", "#c5bcb1", "#a89e92", "#7d7469", "#5f574e", "#453f38", "#2b2722",
];
const dark: MantineColorsTuple = [
  "#ece7e1", "#cfc8bf", "#aba298", "#80776d", "#4d463f", "#3a342f", "#2a2622", "#201d1a", "#171513", "#0f0d0c",
];

/** Text on the primary color is dark or light as the scheme's shade of it needs. */
const variantColors: VariantColorsResolver = (input) => {
  const found = defaultVariantColorsResolver(input);
  const isPrimary = !input.color || input.color === input.theme.primaryColor;
  return input.variant === "filled" && isPrimary ? { ...found, color: "var(--mantine-primary-color-contrast)" } : found;
};

export const theme = createTheme({
  colors: { crust, gray, dark },
  primaryColor: "crust",
  primaryShade: { light: 7, dark: 4 },
  autoContrast: true,
  variantColorResolver: variantColors,
  luminanceThreshold: 0.3,
  defaultRadius: "md",
  fontFamily: "'Inter Variable', system-ui, -apple-system, 'Segoe UI', 'PingFang SC', 'Noto Sans CJK SC', sans-serif",
  fontFamilyMonospace: "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace",
  headings: { fontWeight: "600", sizes: { h1: { fontSize: "1.75rem", lineHeight: "1.2" } } },
  cursorType: "pointer",
  focusRing: "auto",
  respectReducedMotion: true,
  components: {
    Tooltip: { defaultProps: { openDelay: 400, withArrow: true } },
    Menu: { defaultProps: { shadow: "md", position: "bottom-end" } },
    Modal: { defaultProps: { centered: true, overlayProps: { backgroundOpacity: 0.4, blur: 2 } } },
  },
});

/** Grounds and text of both schemes; all pairs of text and ground have a contrast of at least 4.5. */
export const cssVariables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    "--mantine-color-body": "#faf8f5",
    "--mantine-color-text": "#2b2722",
    "--mantine-color-dimmed": "#6b6258",
    "--mantine-color-placeholder": "#7d7469",
    "--mantine-color-default-border": "#dcd5cc",
    "--surface": "#ffffff",
    "--surface-2": "#f3f0eb",
    "--line": "#e9e4dd",
    "--good": "#2f6b3c",
    "--advice": "#8a4b00",
    "--bad": "#b3261e",
    "--run-1": "#9a4b14",
    "--run-2": "#1c6a86",
    "--run-3": "#6a3d9a",
    "--run-4": "#2f6b3c",
  },
  dark: {
    "--mantine-color-body": "#171513",
    "--mantine-color-text": "#ece7e1",
    "--mantine-color-dimmed": "#aba298",
    "--mantine-color-placeholder": "#958b80",
    "--mantine-color-default-border": "#4d463f",
    "--mantine-color-default": "#2a2622",
    "--surface": "#201d1a",
    "--surface-2": "#2a2622",
    "--line": "#37322d",
    "--good": "#8fce9c",
    "--advice": "#f0b070",
    "--bad": "#ff9a91",
    "--run-1": "#e3995f",
    "--run-2": "#6cc1dd",
    "--run-3": "#c3a0f0",
    "--run-4": "#8fce9c",
  },
});
