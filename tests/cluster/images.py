"""Container images without a registry: built by buildah, kept as archives, named by content."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import programs
from tests.cluster.builder import Builder, Report
from tests.cluster.errors import ClusterError, MissingError
from tests.cluster.layout import HERE
from tests.cluster.programs import Program, digest
from tests.cluster.shell import run
from tests.cluster.spec import Addon, ClusterSpec

DOCKERFILES = HERE / "images"
REPOSITORY = "localhost/kubeqpu-test"
SUITE = "bookworm"
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
BUSYBOX = Path("/bin/busybox")

# The programs' images, by name; what is not here is built by its owner.
PROGRAM_IMAGES: Mapping[str, Program] = {
    "pause": programs.PAUSE,
    "coredns": programs.COREDNS,
    "kueue": programs.KUEUE,
    "workflow-controller": programs.ARGO,
    "argoexec": programs.ARGO,
    "kube-scheduler": programs.KUBERNETES,
}
ADDON_IMAGES: Mapping[Addon, tuple[str, ...]] = {
    Addon.COREDNS: ("coredns",),
    Addon.KUEUE: ("kueue",),
    Addon.ARGO: ("workflow-controller", "argoexec"),
}


@dataclass(frozen=True)
class Image:
    """An image: what pods call it, and the archive that nodes load it from.

    Attributes:
        reference: its name and tag.
        archive: the archive.
        named_by_content: whether a node that has one of this name has this very one.
    """

    reference: str
    archive: Path
    named_by_content: bool = False


def needed(spec: ClusterSpec) -> tuple[str, ...]:
    """The names of the images that every node of a cluster needs."""
    if not spec.nodes:
        return ()
    return ("pause", *(name for addon in spec.addons for name in ADDON_IMAGES.get(addon, ())))


@dataclass(frozen=True)
class Images:
    """Builds images and keeps them.

    Attributes:
        builder: makes the programs that go into them.
        report: told what is going on.
    """

    builder: Builder
    report: Report
    environment: Mapping[str, str] = field(
        default_factory=lambda: {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    )

    @property
    def folder(self) -> Path:
        """Where the archives are kept."""
        return self.builder.cache / "images"

    def buildah(self, *arguments: str | Path) -> str:
        """Run buildah with a storage of our own, in a mount namespace that ends with it."""
        storage = self.builder.cache / "buildah"
        return run(
            ["unshare", "--mount", "--propagation", "private", "buildah",
             "--root", storage / "root", "--runroot", storage / "run", *arguments],
            environment=self.environment, seconds=1800,
        )  # fmt: skip

    def build(
        self,
        reference: str,
        dockerfile: Path,
        context: Path,
        *,
        arguments: Mapping[str, str] | None = None,
        volumes: Sequence[str] = (),
        archive: Path | None = None,
    ) -> Image:
        """Build an image from a Dockerfile, reusing layers, and write its archive.

        Args:
            reference: its name and tag.
            dockerfile: the Dockerfile.
            context: the folder that COPY copies from.
            arguments: build arguments by name.
            volumes: folders mounted while it is built, as buildah's --volume has them.
            archive: where to write it; in the cache if not given.
        """
        options = [f"--build-arg={name}={value}" for name, value in (arguments or {}).items()]
        options += [f"--volume={volume}" for volume in volumes]
        self.buildah("bud", "--layers", "--quiet", "--tag", reference, "--file", dockerfile,
                     *options, context)  # fmt: skip
        return self.export(reference, archive)

    def export(self, reference: str, archive: Path | None = None) -> Image:
        """Write the archive of an image that buildah has."""
        target = archive or self.folder / f"{digest([reference.encode()])}.tar"
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        self.buildah("push", "--quiet", reference, f"docker-archive:{draft}:{reference}")
        draft.replace(target)
        return Image(reference, target)

    def prune(self, above_bytes: int) -> int:
        """Remove buildah's storage, where the layers of all builds stay, if it is larger.

        The next builds make their layers anew, in a few minutes. Nobody may be building.

        Returns:
            How many bytes it held; they are freed if that is more than the limit.
        """
        storage = self.builder.cache / "buildah"
        held = sum(path.lstat().st_size for path in storage.rglob("*") if not path.is_dir())
        if held > above_bytes:
            with self.builder.one_at_a_time("images"):
                shutil.rmtree(storage)
        return held

    def is_made(self, name: str) -> bool:
        """Whether the image of one of the cluster's own programs is in the cache."""
        return self._of_program(name).archive.exists()

    def _of_program(self, name: str) -> Image:
        dockerfile = DOCKERFILES / f"{name}.Dockerfile"
        content = [programs.key(PROGRAM_IMAGES[name]).encode(), dockerfile.read_bytes()]
        return self._named(name, content)

    def program(self, name: str) -> Image:
        """The image of one of the cluster's own programs, built if it is not there yet."""
        image, program = self._of_program(name), PROGRAM_IMAGES[name]
        if not image.archive.exists():
            self.builder.build([program])
            self.report(f"building image {name}")
            context, dockerfile = self.builder.folder(program), DOCKERFILES / f"{name}.Dockerfile"
            with self.builder.one_at_a_time("images"):
                self.build(image.reference, dockerfile, context, archive=image.archive)
        return image

    def _named(self, name: str, content: Sequence[bytes]) -> Image:
        tag = digest(content)
        archive = self.folder / f"{name}-{tag}.tar"
        return Image(f"{REPOSITORY}/{name}:{tag}", archive, named_by_content=True)

    def busybox(self) -> Image:
        """A small image for tests, from Debian's static busybox.

        Raises:
            MissingError: the package is not installed.
        """
        if not BUSYBOX.exists():
            raise MissingError(f"{BUSYBOX} is missing: install the package busybox-static")
        dockerfile = DOCKERFILES / "busybox.Dockerfile"
        content = [BUSYBOX.read_bytes(), programs.key(programs.FETCH).encode()]
        image = self._named("busybox", [*content, dockerfile.read_bytes()])
        if not image.archive.exists():
            self.builder.build([programs.FETCH])
            with self.builder.one_at_a_time("images") as context:
                shutil.copy(BUSYBOX, context)
                shutil.copy(self.builder.folder(programs.FETCH) / "fetch", context)
                self.build(image.reference, dockerfile, context, archive=image.archive)
        return image

    def base(self) -> str:
        """The name of a base image made here, for Dockerfiles that take one as an argument.

        It is made once per cache; pass it as a build argument (ARG BASE).
        """
        dockerfile = DOCKERFILES / "base.Dockerfile"
        image = self._named("base", [SUITE.encode(), BASE_PACKAGES.encode(),
                                     dockerfile.read_bytes()])  # fmt: skip
        if self._in_storage(image.reference):
            return image.reference
        with self.builder.one_at_a_time("images") as work:
            if not self._in_storage(image.reference):
                self.report("making the base image by debootstrap (one to two minutes, once)")
                self._make_base(image.reference, dockerfile, work)
        return image.reference

    def _make_base(self, reference: str, dockerfile: Path, work: Path) -> None:
        root, context = work / "root", work / "context"
        context.mkdir()
        run(["unshare", "--mount", "--propagation", "private", "debootstrap",
             "--variant=minbase", f"--include={BASE_PACKAGES}", SUITE, root],
            seconds=1800)  # fmt: skip
        for cache in (root / "var/cache/apt/archives", root / "var/lib/apt/lists"):
            shutil.rmtree(cache, ignore_errors=True)
        run(["tar", "--numeric-owner", "-C", root, "-cf", context / "rootfs.tar", "."])
        self.buildah("bud", "--quiet", "--tag", reference, "--file", dockerfile, context)

    def _in_storage(self, reference: str) -> bool:
        try:
            self.buildah("inspect", "--type", "image", reference)
        except MissingError:
            raise
        except ClusterError:
            return False
        return True

    def resolve(self, text: str) -> Image:
        """The image that a word on the command line means.

        Args:
            text: the name of one of our own images, an archive's path, or a name in buildah's
                storage.

        Raises:
            ClusterError: it is none of these.
        """
        if text in PROGRAM_IMAGES:
            return self.program(text)
        if text == "busybox":
            return self.busybox()
        if Path(text).is_file():
            return Image(text, Path(text).resolve())
        if self._in_storage(text):
            return self.export(text)
        raise ClusterError(
            f"there is no image {text!r}: name an archive made by 'docker save' or 'buildah push', "
            "an image built by tests.cluster.images, or one of "
            f"{', '.join(PROGRAM_IMAGES)}, busybox"
        )
