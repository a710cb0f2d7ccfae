# One file for every component:
#   docker build --build-arg COMPONENT=qpu-gateway --tag kubeqpu/qpu-gateway .
# BASE is any image with Python 3.11 or later, its venv module and CA certificates.
ARG BASE=docker.io/library/python:3.13-slim-trixie

FROM ${BASE} AS build
ARG COMPONENT
RUN python3 -m venv /opt/kubeqpu
ENV PATH=/opt/kubeqpu/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# Dependencies first: their layer changes only when a pin does.
COPY requirements/build.txt requirements/${COMPONENT}.txt requirements/
RUN python3 -m venv /opt/build \
    && /opt/build/bin/pip install --quiet --require-hashes --requirement requirements/build.txt \
    && pip install --quiet --require-hashes --requirement requirements/${COMPONENT}.txt
COPY . .
RUN PATH=/opt/build/bin:$PATH \
    && for member in $(python3 tools/members.py ${COMPONENT}); do \
         uv build --quiet --wheel --no-build-isolation --python /opt/build/bin/python --out-dir /wheels ${member}; \
       done \
    && /opt/kubeqpu/bin/pip install --quiet --no-deps --no-index /wheels/*.whl \
    && /opt/kubeqpu/bin/pip uninstall --quiet --yes pip \
    && ln -s ${COMPONENT} /opt/kubeqpu/bin/component \
    && /opt/kubeqpu/bin/python -m compileall -q /opt/kubeqpu/lib

FROM ${BASE}
COPY --from=build /opt/kubeqpu /opt/kubeqpu
ENV PATH=/opt/kubeqpu/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# The number, not a name: Kubernetes checks runAsNonRoot against it.
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["/opt/kubeqpu/bin/component"]
