import { Divider, Drawer, Group, Stack, Text, Title } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import {
  IconAdjustmentsHorizontal, IconBox, IconBrush, IconChartBar, IconDots, IconHome, IconPhoto, IconPhotoStar, IconPlus, IconSettings, IconShare2, IconStack2, type Icon,
} from "@tabler/icons-react";
import { Link, Outlet } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { useScope } from "../api/queries";
import { ConnectionBanner } from "./Connection";
import { ColorSchemeMenu } from "./ColorSchemeMenu";

interface Entry {
  to: string;
  label: string;
  icon: Icon;
  /** Used less: below a line. */
  isLess?: boolean;
}

function useEntries(): Entry[] {
  const { t } = useTranslation();
  const mayTrain = useScope("train");
  const isAdmin = useScope("admin");
  const entries: (Entry & { needs?: boolean })[] = [
    { to: "/", label: t("nav.home"), icon: IconHome },
    { to: "/generate", label: t("nav.generate"), icon: IconBrush },
    { to: "/gallery", label: t("nav.gallery"), icon: IconPhotoStar },
    { to: "/new", label: t("nav.new"), icon: IconPlus, needs: mayTrain },
    { to: "/datasets", label: t("nav.datasets"), icon: IconPhoto, needs: mayTrain },
    { to: "/trainings", label: t("nav.trainings"), icon: IconStack2 },
    { to: "/shares", label: t("share.nav"), icon: IconShare2, needs: isAdmin, isLess: true },
    { to: "/sliders", label: t("pages.nav.sliders"), icon: IconAdjustmentsHorizontal, needs: mayTrain, isLess: true },
    { to: "/models", label: t("pages.nav.models"), icon: IconBox, isLess: true },
    { to: "/usage", label: t("nav.usage"), icon: IconChartBar, isLess: true },
    { to: "/settings", label: t("nav.settings"), icon: IconSettings, isLess: true },
  ];
  return entries.filter((entry) => entry.needs !== false);
}

export function Shell() {
  const { t } = useTranslation();
  const entries = useEntries();
  return (
    <>
      <a className="skip" href="#main" onClick={skipToMain}>{t("nav.skip")}</a>
      <ConnectionBanner />
      <div className="layout">
        <nav className="side" aria-label={t("nav.label")}>
          <Group gap={10} px={12} pb={18} wrap="nowrap">
            <img src="./icon.svg" alt="" width={30} height={30} />
            <Text fw={650} fz={18} lts="-0.01em">bakehouse</Text>
          </Group>
          {entries.filter((entry) => !entry.isLess).map((entry) => <NavLink key={entry.to} entry={entry} />)}
          <Divider my={10} mx={12} />
          {entries.filter((entry) => entry.isLess).map((entry) => <NavLink key={entry.to} entry={entry} />)}
          <div style={{ flex: 1 }} />
          <ColorSchemeMenu />
        </nav>
        <main className="main" id="main" tabIndex={-1} style={{ outline: "none" }}>
          <Outlet />
        </main>
      </div>
      <Tabs entries={entries} />
    </>
  );
}

function skipToMain(event: React.MouseEvent) {
  event.preventDefault(); // the address after # is the page's
  document.getElementById("main")?.focus();
}

function NavLink({ entry, onClick }: { entry: Entry; onClick?: () => void }) {
  return (
    <Link to={entry.to} className="nav-link" activeOptions={{ exact: entry.to === "/" }} onClick={onClick}>
      <entry.icon size={19} stroke={1.7} aria-hidden />
      {entry.label}
    </Link>
  );
}

function Tabs({ entries }: { entries: Entry[] }) {
  const { t } = useTranslation();
  const [opened, { open, close }] = useDisclosure();
  const most = 4;
  return (
    <>
      <nav className="tabs" aria-label={t("nav.label")}>
        {entries.slice(0, most).map((entry) => (
          <Link key={entry.to} to={entry.to} className="tab" activeOptions={{ exact: entry.to === "/" }}>
            <entry.icon size={22} stroke={1.7} aria-hidden />
            {entry.label}
          </Link>
        ))}
        <button type="button" className="tab" onClick={open} aria-haspopup="dialog" aria-expanded={opened}>
          <IconDots size={22} stroke={1.7} aria-hidden />
          {t("nav.more")}
        </button>
      </nav>
      <Drawer opened={opened} onClose={close} position="bottom" size="auto" title={<Title order={2} fz="lg">{t("nav.more")}</Title>} closeButtonProps={{ "aria-label": t("common.close") }}>
        <Stack gap={2} pb="lg">
          {entries.slice(most).map((entry) => <NavLink key={entry.to} entry={entry} onClick={close} />)}
          <ColorSchemeMenu />
        </Stack>
      </Drawer>
    </>
  );
}

