# One file for every component:
#   docker build --build-arg COMPONENT=qpu-gateway --tag kubeqpu/qpu-gateway .
# BASE is any image with Python 3.11 or later, its venv module and CA certificates.
ARG BASE=docker.io/library/python:3.13-slim-trixie

FROM ${BASE} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements/build.txt requirements/
RUN python3 -m venv /opt/build \
    && /opt/build/bin/pip install --quiet --require-hashes --requirement requirements/build.txt

# A layer of their own: it changes only when a pin does, and is most of the image.
FROM tools AS dependencies
ARG COMPONENT
COPY requirements/${COMPONENT}.txt requirements/
RUN python3 -m venv --without-pip /opt/kubeqpu \
    && /opt/build/bin/pip --quiet --python /opt/kubeqpu/bin/python \
         install --require-hashes --requirement requirements/${COMPONENT}.txt

FROM dependencies AS own
ARG COMPONENT
COPY . .
RUN PATH=/opt/build/bin:$PATH && members=$(python3 tools/members.py ${COMPONENT}) \
    && for member in $members; do \
         uv build --quiet --wheel --no-build-isolation --python /opt/build/bin/python --out-dir /wheels ${member}; \
       done \
    && pip --quiet --python /opt/kubeqpu/bin/python \
         install --no-deps --no-index --root /own /wheels/*.whl \
    && mkdir -p /own/opt/kubeqpu/bin && ln -s ${COMPONENT} /own/opt/kubeqpu/bin/component

FROM ${BASE}
COPY --from=dependencies /opt/kubeqpu /opt/kubeqpu
COPY --from=own /own /
ENV PATH=/opt/kubeqpu/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# The number, not a name: Kubernetes checks runAsNonRoot against it.
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["/opt/kubeqpu/bin/component"]
